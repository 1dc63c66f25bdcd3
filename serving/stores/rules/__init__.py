"""The rules of operators in memory: read from the database, and laid over the placements file."""
