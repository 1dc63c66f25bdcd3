"""Reads Segment exports into the canonical schema."""
