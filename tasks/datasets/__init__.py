"""Builds, checks and reads data sets."""
