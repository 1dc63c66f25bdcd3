"""Tells whether the process lives and is ready, and what it counted."""
