"""Template deployments at a resource group."""
