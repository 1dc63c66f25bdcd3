"""Bringing sources in: rows to parts, parts to batches."""
