"""Judges what is served: drift, realised accuracy, latency, fairness."""
