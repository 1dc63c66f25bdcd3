"""Learns from stationary history how far signals move by chance."""
