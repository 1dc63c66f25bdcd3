"""Reads lists, explanations, status and ledger from PostgreSQL."""
