"""Learns the sequence model with PyTorch: the only code that imports it."""
