"""Plots of models, audits and drift, as image files."""
