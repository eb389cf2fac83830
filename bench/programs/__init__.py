"""Programs that the bench runs in their own processes."""
