"""Checks every request before an endpoint sees it: one ASGI layer for keys, limits, ids, metrics, logs and headers."""
