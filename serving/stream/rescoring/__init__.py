"""Scores the live lists of users again after their events, stores them, and publishes that they changed."""
