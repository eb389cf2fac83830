"""Commands that print templates and documentation."""
