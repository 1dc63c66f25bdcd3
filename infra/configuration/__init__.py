"""Reads the settings of an installation from its file and the environment, and checks them."""
