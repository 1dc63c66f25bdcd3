"""Makes the lists of placements and publishes them."""
