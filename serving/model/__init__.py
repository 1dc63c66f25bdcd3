"""Holds the champion: verifies, opens and checks its bundle, and replaces it when another one is promoted."""
