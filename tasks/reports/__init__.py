"""Renders pages and plots for people."""
