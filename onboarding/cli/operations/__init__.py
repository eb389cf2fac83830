"""Commands that do what the function app does by itself: sweep, and take events and messages."""
