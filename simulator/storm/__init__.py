"""The storm: run the product under faults, duplicates, lost events and killed hosts, then check the final state."""
