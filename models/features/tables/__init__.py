"""Feature tables: one module for each, and their registry."""
