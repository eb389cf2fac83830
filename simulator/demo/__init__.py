"""The demo: a mixed fleet is created, announced, onboarded and looked up in the table, and every row is judged."""
