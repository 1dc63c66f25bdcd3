"""Measures models on public data sets."""
