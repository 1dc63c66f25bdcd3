"""What the data promise: a contract, row rules and a Great Expectations suite per data set."""
