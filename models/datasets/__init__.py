"""Data sets: training data, time splits, labels and limits."""
