"""Simulated virtual machines: their lifecycle, their extensions, and what runs inside them."""
