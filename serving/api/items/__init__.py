"""Lists about items and baskets, listings of best sellers and new items, and updates of the catalogue."""
