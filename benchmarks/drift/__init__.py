"""Measures drift detection on streams of a simulated shop."""
