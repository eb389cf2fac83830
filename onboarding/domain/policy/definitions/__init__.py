"""Azure Policy definitions in all the forms in which people keep them."""
