"""Takes the calls of Segment's official libraries."""
