"""Search of a model's settings: the study in Postgres, the processes that try settings, and what MLflow shows of it."""
