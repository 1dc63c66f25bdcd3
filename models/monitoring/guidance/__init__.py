"""Derives the next step of an installation, the same for every command."""
