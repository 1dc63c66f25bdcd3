"""Serves lists and answers from Postgres; imports neither Prefect nor Great Expectations nor MLflow."""

from infra.configuration.thread_pools import size_pools

size_pools()
