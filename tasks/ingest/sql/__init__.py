"""Ingests tables and queries of databases, continuing at a cursor."""
