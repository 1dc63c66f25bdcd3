"""The reference of mapping keys."""
