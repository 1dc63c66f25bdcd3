"""Commands that are running: who they are, when they have to end, and what Prefect is told of killed ones."""
