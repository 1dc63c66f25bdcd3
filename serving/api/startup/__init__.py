"""Opens the parts of a server at its start, and closes them at its end."""
