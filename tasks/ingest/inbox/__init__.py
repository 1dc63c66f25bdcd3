"""Moves messages of the inbox into the lake and the catalogue, through the ledger and its rules."""
