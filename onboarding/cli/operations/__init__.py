"""Commands that run what the function app runs by itself."""
