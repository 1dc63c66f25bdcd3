"""Lists about items, and updates of the catalogue."""
