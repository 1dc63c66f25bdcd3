"""Judges served lists: drift, realised accuracy, latency, fairness."""
