"""Reads every file: policies, catalogue entries, overrides and the data of the package."""
