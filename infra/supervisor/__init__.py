"""Starts, watches and stops the services of an installation."""
