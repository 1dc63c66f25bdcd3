"""Measures recommendations for new users and new items."""
