"""What the bench runs as processes of their own."""
