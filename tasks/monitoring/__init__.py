"""Monitors served lists: drift, accuracy, audits, and retraining."""
