"""Checking a mapping on the beginning of its files: nothing has to run and nothing is stored."""
