"""Creates, records and rotates keys, and makes pseudonyms with them."""
