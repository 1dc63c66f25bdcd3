"""What a data set has to be."""
