"""Rules of operators: a versioned layer over the rules of the placements file."""
