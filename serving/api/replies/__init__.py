"""Writes answers: lists as JSON and HTML, and errors."""
