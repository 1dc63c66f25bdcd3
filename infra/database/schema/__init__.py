"""Tables and views of PostgreSQL."""
