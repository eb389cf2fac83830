"""The pure part: values and decisions. It reads no file, no clock and no network."""
