"""Measures how often the promotion gate errs, and what a review costs."""
