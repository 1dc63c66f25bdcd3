"""How long commands with little to do take, and how soon they read their first record."""
