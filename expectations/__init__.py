"""Defines expectations on data: a contract, row rules and a Great Expectations suite per data set."""
