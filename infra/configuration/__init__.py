"""The settings file of an installation: where it is, what it holds, and which values are in use."""
