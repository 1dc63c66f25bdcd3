"""Reads rows of databases in bounded memory, without writing to them."""
