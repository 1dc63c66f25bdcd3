"""Caches with one load per key, in Redis or in this process."""
