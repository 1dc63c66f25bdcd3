"""Checks of files that a mapping can read: suspicions and advice."""
