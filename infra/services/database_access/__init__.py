"""Roles, rights and logins in PostgreSQL."""
