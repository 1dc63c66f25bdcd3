"""Stores events and data sets as Delta tables."""
