"""Commands about errors."""
