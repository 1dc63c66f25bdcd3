"""Promotes a reviewed version to champion and records who decided it."""
