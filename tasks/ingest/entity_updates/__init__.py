"""Updates items, users and consent from events and reference files, in any order."""
