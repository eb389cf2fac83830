"""The HTTP side of the simulated ARM: checks, limits, refusals and answers."""
