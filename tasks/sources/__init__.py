"""Finds and reads files of all kinds of sources, in bounded chunks."""
