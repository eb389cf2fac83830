"""Policies: which machines must have which extension, by scopes, exemptions and rules."""
