"""Re-keys the users of every store with a new pseudonym key: tables, lake, data sets, quarantine."""
