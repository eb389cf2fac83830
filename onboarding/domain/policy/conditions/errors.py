"""The two ways a condition can go wrong: written wrong (found when it is compiled) or not decidable for one resource.

Nothing here is raised past `Condition.evaluate`: an undecided condition is an answer with a reason.
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
    """This resource and these parameters give the condition no answer; the text says what is missing.

    `unread` is `resourceGroup` or `subscription` where reading that might give the answer; else it is empty.

    Azure fails the whole evaluation here ("If the result of a template function is an error, policy evaluation
    fails"); we go on as long as another branch decides, and report the reason otherwise."""

    def __init__(self, reason: str, unread: str = "") -> None:
        super().__init__(reason)
        self.unread = unread


def joined[S](decisive: bool, tests: Iterable[Callable[[S], bool]], scope: S) -> bool:
    """All tests (`decisive` False) or any of them (True): what the first that is decisive comes to, also where another
    comes to nothing.

    Raises Undecided where none is decisive and some come to nothing: the first reason, or the one that a read might
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
