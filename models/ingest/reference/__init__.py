"""Generates the reference of mapping keys."""
