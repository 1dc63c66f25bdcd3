"""Reads requests: ids, parameters and pseudonyms. Nothing here knows FastAPI."""
