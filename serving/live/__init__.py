"""Scores lists at the time of a request, with the code and the rules of batch scoring."""
