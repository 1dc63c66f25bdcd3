"""Recommendation lists: rules, and the builder that fills the places."""
