"""Requests, leases and runs of retraining."""
