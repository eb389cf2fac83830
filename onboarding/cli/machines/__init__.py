"""Commands about machines and their rows."""
