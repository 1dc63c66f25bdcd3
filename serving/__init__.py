"""What answers: reads Postgres, and imports neither Prefect nor Great Expectations nor MLflow."""
