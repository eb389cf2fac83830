"""Scripted faults: rules that match requests and change their answers. Tests, demo and bench use the same files.

    - vm: web-*            # VM name pattern; also method, kind (vm-get, extension-put, operation-poll, …)
      kind: extension-put
      nth: [1, 2]          # which matching requests; absent: all
      status: 500
      code: InternalServerError
      message: An error occured.

A rule answers instead of the simulator, or, with `after: true`, after the request has taken effect.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from simulator.arm.http.exchange import Answer
from simulator.arm.http.targets import Target


class Cut(StrEnum):
    """How the connection breaks: instead of an answer, or in the middle of one."""

    RESET = "reset"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One rule. `error` has further members of the error object (details, innererror, target …); `body` replaces the
    whole body, as JSON or, if it is text, unchanged. `delay` is in simulated seconds and comes before the answer.
    `ends_with`: the request is accepted, and its operation ends with that error (code and message) and without effect;
    it works for updates of a VM, and for writes and removals of extensions."""

    vm: str = "*"
    method: str = "*"
    kind: str = "*"
    nth: tuple[int, ...] = ()
    probability: float = 1.0
    status: int | None = None
    code: str = ""
    message: str = ""
    error: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: Cut | None = None
    after: bool = False
    ends_with: Mapping[str, Any] | None = None

    def matches(self, target: Target, method: str) -> bool:
        vm = target.names.get("vm", "").lower()
        return fnmatch(vm, self.vm.lower()) and fnmatch(method, self.method) and fnmatch(target.kind, self.kind)

    @property
    def answers(self) -> bool:
        return self.status is not None

    @property
    def label(self) -> str:
        """The rule's effect in two words, for counts."""
        if self.ends_with is not None:
            return f"operation {self.ends_with.get('code', '')}"
        what = f"{self.status} {self.code}".strip() if self.answers else str(self.cut or "slow")
        return f"{what} after the effect" if self.after else what

    def answer(self) -> Answer:
        """The answer that the rule gives."""
        return Answer(self.status or 0, self._content() if self.answers else None, self.headers)

    def _content(self) -> Any:
        if self.body is not None:
            return self.body
        return {"error": {"code": self.code, "message": self.message, **self.error}}


class Faults:
    """The rules in force. The first rule that matches and is due decides. `injected` counts the effects, by label."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"{seed}|faults")
        self._rules: list[FaultRule] = []
        self._seen: dict[int, int] = {}
        self.injected: Counter[str] = Counter()

    def add(self, *rules: FaultRule) -> None:
        self._rules.extend(rules)

    def clear(self) -> None:
        self._rules.clear()
        self._seen.clear()

    def load(self, file: Path) -> None:
        """Add the rules of a YAML or JSON file."""
        self.add(*read_rule_file(file))

    def pick(self, target: Target, method: str) -> FaultRule | None:
        for rule in self._rules:
            if rule.matches(target, method) and self._due(rule):
                self.injected[rule.label] += 1
                return rule
        return None

    def _due(self, rule: FaultRule) -> bool:
        count = self._seen[id(rule)] = self._seen.get(id(rule), 0) + 1
        return (not rule.nth or count in rule.nth) and self._random.random() < rule.probability


_KNOWN = {f.name for f in fields(FaultRule)}


def read_rule_file(file: Path) -> Iterable[FaultRule]:
    """Rules of a YAML or JSON file; raises ValueError as `read_rules` does."""
    return read_rules(yaml.safe_load(file.read_text("utf-8")), str(file))


def read_rules(raw: object, source: str) -> Iterable[FaultRule]:
    """Rules from loaded YAML or JSON; raises ValueError that names the rule and the fix."""
    if not isinstance(raw, list):
        raise ValueError(f"{source}: expected a list of fault rules, found {type(raw).__name__}")
    for number, entry in enumerate(raw, start=1):
        if not isinstance(entry, Mapping):
            raise ValueError(f"{source}: rule {number} must be a mapping, not {type(entry).__name__}")
        if unknown := sorted(set(entry) - _KNOWN):
            raise ValueError(f"{source}: rule {number} has no field {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
        values = dict(entry)
        if "nth" in values:
            values["nth"] = tuple(values["nth"]) if isinstance(values["nth"], list) else (values["nth"],)
        if "cut" in values:
            values["cut"] = Cut(values["cut"])
        yield FaultRule(**values)
