"""One file per Prefect deployment: wiring and branching. The command line is `flows.__main__`."""
