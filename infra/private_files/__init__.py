"""Files and folders that nobody else may read or replace."""
