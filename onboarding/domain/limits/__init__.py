"""What delays requests on purpose: circuit breaker, rollout limit and rate limiter, as pure values."""
