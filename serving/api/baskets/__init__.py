"""Lists for baskets, and given items in a visitor's order."""
