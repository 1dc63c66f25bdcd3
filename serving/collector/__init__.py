"""Reads what Segment's official libraries send, and makes messages of it."""
