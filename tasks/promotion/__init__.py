"""Promotes a reviewed model to champion, and records who decided it."""
