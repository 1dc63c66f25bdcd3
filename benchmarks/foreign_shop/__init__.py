"""A wholesale shop that nothing was tuned for: a dirty raw table, taken all the way to published lists."""
