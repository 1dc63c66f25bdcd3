"""Tables: mapping keys, values, times, and rows in the canonical schema."""
