"""Flows on the real servers, by the command line."""
