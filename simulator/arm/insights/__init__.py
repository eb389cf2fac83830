"""Azure Monitor: data collection rules, endpoints, their associations, and whether an agent's data flows."""
