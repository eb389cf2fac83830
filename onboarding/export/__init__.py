"""Writes what others take over: templates, commands, schemas and generated pages."""
