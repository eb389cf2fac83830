"""From an error, a status or a pasted text to a cause with meaning and advice."""
