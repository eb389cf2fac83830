"""ARM's own lists, which clients use to find their way: tenants, regions, groups, providers, all resources."""
