"""The network around the virtual machines, as far as clients read it."""
