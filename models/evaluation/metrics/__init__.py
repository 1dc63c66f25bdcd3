"""Metrics of ranked lists and scores, per user and averaged with intervals."""
