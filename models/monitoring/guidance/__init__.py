"""What comes next, whatever command asks."""
