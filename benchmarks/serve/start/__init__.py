"""Measures how long small commands take, and how soon they read their first record."""
