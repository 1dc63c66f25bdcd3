"""Audits published lists for fairness and exposure."""
