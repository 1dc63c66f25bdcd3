"""Ingests files of items and users."""
