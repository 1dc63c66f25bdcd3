"""The keys of the tables of a mapping file: [events], [items] and [users]."""
