"""Talks to MLflow: runs, versions, aliases, webhooks."""
