"""Segment exports: parsing into the canonical schema."""
