"""Simulated virtual machines: their life, their extensions and what runs inside them."""
