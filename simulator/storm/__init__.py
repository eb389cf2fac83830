"""A storm over the whole product on its real parts: faults, duplicates, lost events and killed hosts; then the count of
what is left."""
