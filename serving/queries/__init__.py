"""Answers questions from PostgreSQL: lists, explanations, status, ledger."""
