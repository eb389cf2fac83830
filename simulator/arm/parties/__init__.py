"""Other people and services that write to the same machines, at random times."""
