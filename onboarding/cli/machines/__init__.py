"""Commands about machines and their rows in the table."""
