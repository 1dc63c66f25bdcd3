"""Simulates a shop with known ground truth."""
