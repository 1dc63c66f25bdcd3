"""Calls the public API within a short time, and remembers the last good answers."""
