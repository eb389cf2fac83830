"""The pure part: values and decisions. It uses no file, no clock and no network."""
