"""Validates batches and data sets with Great Expectations, and publishes Data Docs."""
