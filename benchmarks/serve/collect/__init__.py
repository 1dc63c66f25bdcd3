"""Measures the collector: durable events per second, and what reaches the lake."""
