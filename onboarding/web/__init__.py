"""What the HTTP functions answer."""
