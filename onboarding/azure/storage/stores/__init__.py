"""What all workers share beside the rows: circuit breakers, rollout counts, policy versions, the sweep's state."""
