"""What a browser remembers of its visitor: choices, basket and sign-in."""
