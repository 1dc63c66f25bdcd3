"""Hyperparameter studies: folds, configuration, and when to search again."""
