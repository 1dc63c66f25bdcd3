"""Drafts of mappings from the names and cells of tables. Pure: samples in, the text of a mapping out."""
