"""Reads the state of an installation: its settings and its situation."""
