"""Explains an evaluation: learning curves, overfitting, new users, important features."""
