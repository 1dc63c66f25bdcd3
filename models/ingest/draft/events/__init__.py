"""The part of a mapping that reads events."""
