"""Programs that write pages of `docs` from the code. Tests compare both."""
