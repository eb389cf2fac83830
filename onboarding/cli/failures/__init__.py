"""Commands that explain failures."""
