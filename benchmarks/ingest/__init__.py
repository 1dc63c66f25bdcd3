"""Measures ingestion against the plain way."""
