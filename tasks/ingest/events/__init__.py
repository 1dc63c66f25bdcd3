"""Ingests files of events, one by one or in groups."""
