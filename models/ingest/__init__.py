"""What can be found out about a source before its mapping is trusted. Pure."""
