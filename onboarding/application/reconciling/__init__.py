"""One pass over one machine: read, decide, schedule and claim, send, record."""
