"""Measures ingestion against plain pandas, Great Expectations and SQL."""
