"""Shows an installation as it stands: its settings and its situation."""
