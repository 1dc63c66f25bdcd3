"""Reads what answers need: published lists, catalogue and caches, each with a limit on the time a request waits."""
