"""Backups of an installation in a folder or an object store, and their restore."""
