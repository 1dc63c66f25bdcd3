"""Locks in PostgreSQL: one run at a time, and none during a key rotation."""
