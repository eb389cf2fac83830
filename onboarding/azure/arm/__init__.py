"""Azure Resource Manager and Resource Graph."""
