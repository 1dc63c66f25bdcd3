"""Measures the heads of the two-stage model on the demo and on simulated shops."""
