"""Guesses a first mapping from the names and cells of a shop's tables. Pure: samples in, the text of a mapping out."""
