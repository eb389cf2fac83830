"""What a decision needs beyond the machine itself: policy scopes, image definitions, resource containers."""
