"""Locks in PostgreSQL: one run at a time per name, and no run during a key rotation."""
