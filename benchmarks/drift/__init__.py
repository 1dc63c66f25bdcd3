"""Measures drift detection against Evidently."""
