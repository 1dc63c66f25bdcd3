"""Stores models as signed bundles of arrays."""
