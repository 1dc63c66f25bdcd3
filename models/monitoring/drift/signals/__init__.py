"""Drift signals of one window: user behaviour, items and served lists."""
