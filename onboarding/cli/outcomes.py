"""Outcomes as people write them on the command line."""

from __future__ import annotations

import argparse

from onboarding.core.outcome import Outcome


def outcome_named(name: str) -> Outcome:
    """For argparse: the outcome of that name, in any spelling."""
    known = {outcome.lower(): outcome for outcome in Outcome}
    if name.lower() not in known:
        raise argparse.ArgumentTypeError(f"{name!r} is no outcome; use {', '.join(Outcome)}")
    return known[name.lower()]
