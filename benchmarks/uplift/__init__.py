"""Measures whether experiments fool their owner."""
