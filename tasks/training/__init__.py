"""Trains models, evaluates them, and stores both in MLflow."""
