"""Published lists: read together, with the texts of their codes, and the live batch of each placement."""
