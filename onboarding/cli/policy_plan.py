"""`onboard policy plan`: what a change of the policy files would do to a fleet, before it is deployed.

Reads VM bodies (`az vm list -o json`, a Resource Graph result, JSON Lines) and decides for each with the folder as it
is (`--against`) and as it is to be. Exit codes: 0; 1 where a policy file cannot be used; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onboarding.cli.around import add_around, read_around
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import Commands, as_json
from onboarding.cli.policy_input import load_rules, policy_folder, read_vms
from onboarding.core.facts import MachineFacts, read_facts
from onboarding.core.foreign import printable
from onboarding.enforce import Rules
from onboarding.forecast import Forecast, forecast


@dataclass(frozen=True, slots=True)
class Change:
    """What one VM and one extension come to; None where no policy of that side names the extension."""

    vm: str
    extension: str
    before: Forecast | None
    after: Forecast | None

    @property
    def is_one(self) -> bool:
        if self.before is None or self.after is None:
            return self.before is not self.after
        return self.after.differs(self.before)

    @property
    def words(self) -> tuple[str, str]:
        return _word(self.before), _word(self.after)

    @property
    def telling(self) -> Forecast:
        said = self.after or self.before
        assert said is not None  # one of the sides named the extension
        return said

    def as_dict(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        told = {name: side.as_dict() if side else None for name, side in sides.items()}
        return {"vm": self.vm, "extension": self.extension, "changed": self.is_one, **told}


def add(actions: Commands) -> None:
    parser = actions.add_parser("plan", help="show what a change of the policy files would do to a fleet")
    parser.add_argument(
        "--vm-list", metavar="FILE", default="-", help="VM bodies, as `az vm list -o json` prints them (default: stdin)"
    )
    parser.add_argument("--policies", metavar="FOLDER", help="the files as they are to be (default: the app's)")
    parser.add_argument("--against", metavar="FOLDER", help="the files as they are; without them, all is new")
    parser.add_argument("--all", action="store_true", help="also the VMs for which nothing changes")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_around(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    environment = environment_of(args)
    new, problems = load_rules(args.policies or policy_folder(environment), environment)
    old, others = load_rules(args.against, environment) if args.against else (None, ())
    for problem in (*problems, *others):
        print(printable(f"onboard policy plan: {problem}"), file=sys.stderr)
    now = datetime.now(UTC)
    around = read_around(args.around)
    machines = [around.facts(read_facts(body)) for body in read_vms(args.vm_list)]
    changes = [change for facts in machines for change in compare(facts, old, new, now)]
    shown = [change for change in changes if args.all or change.is_one]
    print(_json(len(machines), changes, shown) if args.format == "json" else _table(len(machines), changes, shown))
    return 1 if problems or others else 0


def compare(facts: MachineFacts, old: Rules | None, new: Rules, now: datetime) -> Iterator[Change]:
    """One change, or none that is one, for each extension that either side names."""
    before = _by_extension(forecast(old, facts, now)) if old else {}
    after = _by_extension(forecast(new, facts, now))
    name = str(facts.id) if facts.id.name else str(facts.body.get("name", "(no id)"))
    for extension in dict.fromkeys([*before, *after]):
        yield Change(name, extension, before.get(extension), after.get(extension))


def _by_extension(forecasts: Iterable[Forecast]) -> Mapping[str, Forecast]:
    return {each.policy.extension: each for each in forecasts}


def _word(side: Forecast | None) -> str:
    return side.word if side else "no policy"


def _counts(changes: Iterable[Change]) -> Counter[tuple[str, str]]:
    return Counter(change.words for change in changes)


def _json(machines: int, changes: list[Change], shown: list[Change]) -> str:
    counts = [{"before": b, "after": a, "vms": n} for (b, a), n in sorted(_counts(changes).items())]
    told = {"machines": machines, "changed": sum(change.is_one for change in changes), "counts": counts}
    return as_json({**told, "changes": [change.as_dict() for change in shown]})


def _table(machines: int, changes: list[Change], shown: list[Change]) -> str:
    lines = []
    for change in shown:
        before, after = change.words
        said = change.telling
        lines.append(f"{change.vm}  {change.extension}: {before} → {after}  ({said.policy.name})")
        lines.append(f"    {said.decision.reason}")
    lines.append(f"{machines} VMs, {sum(change.is_one for change in changes)} changes")
    for (before, after), number in sorted(_counts(changes).items(), key=lambda item: -item[1]):
        lines.append(f"  {number:6} {before} → {after}" if before != after else f"  {number:6} {after}, as before")
    return "\n".join(map(printable, lines))
