"""Stores what rows state: updates of items and users in any order, quarantine, repeats, and statements for an undo."""
