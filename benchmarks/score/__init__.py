"""Measures batch scoring and publication."""
