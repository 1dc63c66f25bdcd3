"""Measures the sequence model: its speed, what views and carts add, and what it adds to the ranker."""
