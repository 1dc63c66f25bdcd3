"""Lists for users, and what callers state about users."""
