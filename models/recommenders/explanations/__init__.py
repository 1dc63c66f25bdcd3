"""Explains scores to users and to people who review models."""
