"""Names the users of every store by a new pseudonym key: tables, lake, data sets, quarantine."""
