"""Reads tables: mapping, encodings, values, times, and rows in the canonical schema."""
