"""Which machines should have what: policies, scopes, exemptions, rules."""
