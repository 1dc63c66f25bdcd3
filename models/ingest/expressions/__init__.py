"""Expressions in mappings: parsed, compiled to SQL, evaluated."""
