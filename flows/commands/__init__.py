"""The commands of the command line, by subject. Every command imports its work late."""
