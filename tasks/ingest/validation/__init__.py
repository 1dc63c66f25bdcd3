"""Decides for each row whether it is accepted, quarantined, a duplicate or suppressed."""
