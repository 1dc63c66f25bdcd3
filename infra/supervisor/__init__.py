"""Starts, probes and stops the services of an installation."""
