"""Watches what is served: drift, accuracy, audits, and the retraining they lead to."""
