"""Data sets: how they are checked."""
