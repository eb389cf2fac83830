"""A machine: what ARM says about it, who manages it, and the forms in which tools print it."""
