"""Ingests files: reads chunks, validates their rows, and stores them as batches."""
