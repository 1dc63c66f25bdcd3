"""Connections to Postgres whose failure costs a request no more than a fixed time."""
