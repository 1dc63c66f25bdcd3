"""Fills a slot of a page, as JSON or as a fragment of HTML."""
