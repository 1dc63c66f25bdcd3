"""Models of item similarity and co-purchase."""
