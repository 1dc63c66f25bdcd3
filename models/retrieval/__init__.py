"""Retrieves the best items of a model, for the whole catalogue or among candidates."""
