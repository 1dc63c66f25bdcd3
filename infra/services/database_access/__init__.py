"""Manages roles, rights and logins in PostgreSQL."""
