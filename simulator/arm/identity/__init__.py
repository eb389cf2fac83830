"""Managed identities: those of machines, the user-assigned ones, and the applications that get tokens with them."""
