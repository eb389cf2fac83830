"""The parts of the bench: each module has `measure(run)`, which gives a `Section` named as the module."""
