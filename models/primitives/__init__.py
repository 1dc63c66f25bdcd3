"""What models compute with: native libraries, their threads, and sorting."""
