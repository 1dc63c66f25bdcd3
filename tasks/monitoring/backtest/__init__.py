"""Lives past weeks again in installations of their own, one for each policy of retraining."""
