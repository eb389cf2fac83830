"""From image metadata to an OS release: grammar of image names, guest agents, overrides, releases of Windows."""
