"""Connects to PostgreSQL, migrates the schema, and copies rows in bulk."""
