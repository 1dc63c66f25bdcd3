"""Connects runs with Prefect: forms, artifacts, names of runs, links between pages."""
