"""Measures erasures, exports and searches for a person, on the demo."""
