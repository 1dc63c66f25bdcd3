"""Expressions in mappings: parsing, compilation to SQL, evaluation."""
