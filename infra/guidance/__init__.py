"""Reads where an installation stands."""
