"""Addresses, processes and logins of the services that an installation uses."""
