"""A neural model of the order of events: a transformer or a GRU over each user's latest events."""
