"""Answers HTTP requests for recommendations, and takes feedback and updates."""
