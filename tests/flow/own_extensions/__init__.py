"""The commands with which people bring extensions of their own."""
