"""Circuit breakers and rollout limits, shared by all workers through their stores."""
