"""Takes what visitors do with recommendations."""
