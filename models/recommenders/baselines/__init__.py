"""Baselines: popularity, own frequency, and their blends."""
