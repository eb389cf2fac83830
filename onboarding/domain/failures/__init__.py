"""Classifies an error, a status or a pasted text: its cause, its meaning and what to do."""
