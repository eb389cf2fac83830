"""Writes templates, commands, schemas and generated pages for use elsewhere."""
