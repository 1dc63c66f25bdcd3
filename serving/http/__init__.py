"""Protocols of HTTP that bound what clients may send, and end connections without a loss."""
