"""Builds the package of a function for AWS Lambda, and measures its size and its cold start."""
