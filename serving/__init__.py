"""What answers: reads Postgres, and imports neither Prefect nor Great Expectations nor MLflow."""

from infra.configuration.thread_pools import size_pools

size_pools()
