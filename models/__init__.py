"""The rooms of data in, data out: no clock, no environment, no network."""
