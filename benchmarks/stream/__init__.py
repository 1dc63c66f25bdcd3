"""Measures consumers of a message broker: events stored per second, and what reaches the lake."""
