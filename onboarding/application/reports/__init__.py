"""What a fleet, and one machine, looks like to people: numbers and explanations, for commands and pages alike."""
