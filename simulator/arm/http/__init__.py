"""The HTTP door of the simulated ARM: what it checks, counts, refuses and shows."""
