"""The two errors of conditions: one that is written wrong (found when it is compiled), and one that is undecided for a
resource.

`Condition.evaluate` raises neither: an undecided condition is an outcome with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from onboarding.domain.errors import error_text
from onboarding.domain.masking import mask

# Problem and fix.
TOO_DEEP: Final = ("the condition is nested too deeply", "write it with fewer levels")


class ConditionError(Exception):
    """A condition that cannot be compiled. `place` is its path in the source, `problem` quotes what is wrong there,
    and `fix` says what to write instead."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(error_text(place, problem, fix))
        self.place = place
        self.problem = mask(problem)
        self.fix = fix

    @property
    def message(self) -> str:
        """The text without the place, for those who show the place on their own."""
        return error_text("", self.problem, self.fix)


class Undecided(Exception):
    """The condition has no outcome for this resource and these parameters; the text says what is missing.

    `unread` is `resourceGroup` or `subscription` if reading that may give an outcome, else empty.

    Azure fails the whole evaluation here ("If the result of a template function is an error, policy evaluation
    fails"); we go on as long as another branch decides, and report the reason otherwise."""

    def __init__(self, reason: str, unread: str = "") -> None:
        super().__init__(reason)
        self.unread = unread


def joined[S](decisive: bool, tests: Iterable[Callable[[S], bool]], scope: S) -> bool:
    """Whether all tests hold (`decisive` False) or any of them (True). One decisive test decides, even if others are
    undecided.

    Raises Undecided if no test is decisive and some are undecided: with the first reason, or with one that a read may
    remove."""
    reason: Undecided | None = None
    for test in tests:
        try:
            if (not test(scope)) is not decisive:
                return decisive
        except Undecided as undecided:
            if reason is None or (undecided.unread and not reason.unread):
                reason = undecided
    if reason is not None:
        raise reason
    return not decisive
