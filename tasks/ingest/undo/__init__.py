"""Undoes batches: their events, items, users and traces."""
