"""What the command line can do, by what it is about; every command imports its work late."""
