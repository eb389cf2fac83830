"""The demo: create a mixed fleet, send its events, let the product onboard it, and check every row of the table."""
