"""Compares models: leaderboards, paired differences, lists side by side."""
