"""Rules of placements: configuration, compiled arrays, warnings."""
