"""Generates a shop whose truth is known."""
