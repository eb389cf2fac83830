"""`python -m bench.programs.decision --items N`: the CPU time of decisions, without any I/O, as JSON.

The images have either distinct names (the project's sample images, each sku with a number appended) or the names of the
samples with distinct versions, as in lists of a marketplace. VM bodies are the simulator's, each with its own name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.parts import BenchFailed
from bench.programs.arm import TEMPLATE_NAME, templates
from bench.workload import vm_name
from onboarding.app import read_configuration
from onboarding.application.image_check import Checker
from onboarding.application.rules import decision_context
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.conditions import Resource, compile_condition
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, RetryState

_IMAGES = Path(__file__).resolve().parents[2] / "samples" / "images.jsonl"
_IMAGE = "Microsoft.Compute/virtualMachines/storageProfile.imageReference"
# Like definitions with lists of images: a hundred combinations of publisher, offer and sku, none of which is the VM's.
_LONG_RULE = compile_condition(
    {
        "anyOf": [
            {
                "allOf": [
                    {"field": f"{_IMAGE}.publisher", "equals": "OpenLogic"},
                    {"field": f"{_IMAGE}.offer", "in": ["CentOS", "CentOS-LVM"]},
                    {"field": f"{_IMAGE}.sku", "like": f"no-{number}*"},
                ]
            }
            for number in range(100)
        ]
    }
)


def _images() -> list[tuple[str, str, str]]:
    listed = map(json.loads, _IMAGES.read_text().splitlines())
    return [(image["publisher"], image["offer"], image["sku"]) for image in listed]


def _distinct(items: int) -> list[str]:
    images = _images()
    return [":".join(images[n % len(images)]) + f"-r{n}:1.0.0" for n in range(items)]


def _repeated(items: int) -> list[str]:
    images = _images()
    return [":".join(images[n % len(images)]) + f":1.0.{n}" for n in range(items)]


def _timed[T](work: Callable[[T], object], items: Iterable[T]) -> float:
    """Seconds of CPU for all items."""
    began = time.process_time()
    for item in items:
        work(item)
    return time.process_time() - began


def _measure(items: int, vm: bytes) -> dict[str, Any]:
    configuration = read_configuration(os.environ)
    rules = configuration.rules
    table = next(iter(rules.catalogue.values())).support_table("")
    now = datetime.now(UTC)
    bodies = [vm.replace(TEMPLATE_NAME.encode(), vm_name("decision", n).encode()) for n in range(items // 10)]
    parsed = [json.loads(body) for body in bodies]
    facts = [read_facts(body) for body in parsed]

    def whole(body: bytes) -> None:
        machine = read_facts(json.loads(body))
        for assignment in rules.policies.assign(machine, now):
            retry = RetryState(None, assignment.policy.waits, now)
            decision = decide(decision_context(rules, machine, assignment, retry)[0])
            if not isinstance(decision, Act):
                raise BenchFailed(f"the decision is not an install: {decision}")

    return {
        "distinct_s": _timed(Checker(table, rules.reference).check, _distinct(items)),
        "repeated_s": _timed(Checker(table, rules.reference).check, _repeated(items)),
        "parsing_s": _timed(json.loads, bodies),
        "facts_s": _timed(read_facts, parsed),
        "policy_s": _timed(lambda machine: rules.policies.assign(machine, now), facts),
        "long_rule_s": _timed(lambda body: _LONG_RULE.evaluate(Resource(body)), parsed),
        "whole_s": _timed(whole, bodies),
        "bodies": len(bodies),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, required=True)
    items = parser.parse_args().items
    print(json.dumps(_measure(items, asyncio.run(templates())[0])))


if __name__ == "__main__":
    main()
