"""Stores events as Delta tables."""
