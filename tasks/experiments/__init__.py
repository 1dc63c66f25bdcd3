"""Starts, reads and stops experiments."""
