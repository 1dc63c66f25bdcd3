"""Consumes events from a message broker: each effect happens once, however often a message is delivered."""
