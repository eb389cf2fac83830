"""What a machine is: its id, what ARM says of it, who manages it, and the forms in which tools print it."""
