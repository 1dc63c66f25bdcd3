"""Figures that the README and the issues quote, each printed again by `make bench`."""

from infra.configuration.thread_pools import size_pools

size_pools()
