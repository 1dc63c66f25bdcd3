"""Finds what looks wrong in files that a mapping can read, and advises what to do."""
