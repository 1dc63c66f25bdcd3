"""Keys and pseudonyms: created, recorded, rotated."""
