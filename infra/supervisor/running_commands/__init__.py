"""Tracks running commands: records them, ends them, and marks the runs of killed ones as crashed."""
