"""The answers of the HTTP functions."""
