"""Measures accuracy and speed of models against RecTools."""
