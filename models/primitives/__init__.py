"""Primitives of models: SQL over Arrow, threads, state, vocabularies and escaping."""
