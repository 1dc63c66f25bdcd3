"""Reviews models before a person decides."""
