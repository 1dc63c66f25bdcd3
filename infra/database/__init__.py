"""Connects to PostgreSQL, migrates it, and copies rows in bulk."""
