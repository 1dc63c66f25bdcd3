"""Measures how often the promotion gate errs, and the cost of a review."""
