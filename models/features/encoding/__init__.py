"""Encodes features, tags and traits as matrices."""
