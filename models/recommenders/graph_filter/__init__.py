"""Linear graph filter on the user-item graph."""
