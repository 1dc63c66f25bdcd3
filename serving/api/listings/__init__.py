"""Lists that depend on no person: best sellers, trending and new items."""
