"""Stores quarantined rows, and resolves, replays or dismisses them."""
