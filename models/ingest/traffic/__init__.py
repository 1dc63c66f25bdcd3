"""Rules that mark the traffic of robots and internal visitors."""
