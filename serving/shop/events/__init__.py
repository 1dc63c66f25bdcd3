"""States what visitors with consent do, as Segment's libraries do, and sends it without delaying a page."""
