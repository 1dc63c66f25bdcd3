"""Answers requests for recommendations, without HTTP: the fallback chain and the types of requests and answers."""
