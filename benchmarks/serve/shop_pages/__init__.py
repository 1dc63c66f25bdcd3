"""Measures the pages of the shop's server."""
