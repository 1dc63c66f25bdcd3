"""Reads the events of the lake with what PostgreSQL knows of users and items, and compacts its files."""
