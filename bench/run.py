"""The argument of every section of the bench."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console

from bench.parts import Parts, running_parts


@dataclass(slots=True)
class Run:
    """The size of the run, the processes it runs on, and the console for its progress."""

    quick: bool
    """Whether to measure less, in under two minutes."""
    console: Console
    _shared: Parts | None = field(default=None, init=False)
    _ending: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    @contextmanager
    def parts(self) -> Iterator[Parts]:
        """Azurite and the minimal ARM: new processes, or in a quick run the same for all sections."""
        if not self.quick:
            with running_parts() as parts:
                yield parts
            return
        if self._shared is None:
            self._shared = self._ending.enter_context(running_parts())
        yield self._shared

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
