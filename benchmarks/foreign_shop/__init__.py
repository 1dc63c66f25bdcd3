"""A wholesale shop that the product was not tuned for: a dirty raw table, taken all the way to published lists."""
