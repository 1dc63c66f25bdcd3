"""Encodings of features, tags and traits as matrices."""
