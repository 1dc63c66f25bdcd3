"""Why lists are as they are."""
