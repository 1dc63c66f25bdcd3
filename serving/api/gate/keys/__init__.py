"""Knows which keys are valid, and how much each may send."""
