"""Prints queries in the terminal."""
