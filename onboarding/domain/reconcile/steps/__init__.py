"""The steps that bring a machine to what policy wants: each is one ARM resource, described without I/O."""
