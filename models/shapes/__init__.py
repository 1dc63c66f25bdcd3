"""Shapes in which behaviour arrives, each turned into canonical rows by pure functions."""
