"""Addresses, processes and logins of an installation's services."""
