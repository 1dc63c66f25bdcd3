"""Screens of the ledger and the quarantine."""
