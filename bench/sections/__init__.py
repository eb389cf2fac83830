"""The sections of the bench: each module has `measure(run)`, which returns a `Section` with the module's name."""
