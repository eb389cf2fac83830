"""What to do with one machine: decision context, decision, waits, retries, and the rows that say so."""
