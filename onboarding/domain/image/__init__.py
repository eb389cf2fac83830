"""Identifies a machine's OS release: from image names, guest agents, overrides and the releases of Windows."""
