"""Encodings and header lines of text files."""
