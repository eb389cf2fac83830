"""What every command shares: the error for bad input."""

from __future__ import annotations

import argparse

type Commands = argparse._SubParsersAction[argparse.ArgumentParser]


class BadInput(Exception):
    """The caller's input is wrong; the text names the input, the place in it and the mend. Exit code 2."""
