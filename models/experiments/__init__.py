"""Reads experiments: what a variant of a placement changed, how sure that is, and what speaks against it."""
