"""Keeps pages and forms safe: signed cookies, tokens of forms, and headers."""
