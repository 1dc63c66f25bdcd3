"""Measures feature tables against pandas."""
