"""Figures that the README and the issues quote, each printed again by `make bench`."""
