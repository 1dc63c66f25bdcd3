"""Mappings of sources: drafts, checks, and rows in the canonical schema. Pure."""
