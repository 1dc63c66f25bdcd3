"""Reads the events of the lake with the reference data of PostgreSQL, and compacts the files."""
