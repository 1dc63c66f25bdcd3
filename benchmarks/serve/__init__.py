"""Measures the API against a bare Starlette server and `mlflow models serve`, on one machine, in one run."""
