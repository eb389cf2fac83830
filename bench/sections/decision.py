"""What deciding takes, without any I/O."""

from __future__ import annotations

from bench.parts import run_child
from bench.report import Figure, Section
from bench.run import Run
from bench.workload import WORKSPACE, WORKSPACE_KEY

_SETTINGS = {"OMS_WORKSPACE_ID": WORKSPACE, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}


def measure(run: Run) -> Section:
    items = 10_000 if run.quick else 100_000
    told = run_child("bench.programs.decision", {"items": items}, _SETTINGS)
    whole, parsing = told["whole_s"], told["parsing_s"]

    def each(what: str, count: int) -> float:
        return 1e6 * float(told[what]) / count

    run.say(f"{items:,} images: {told['distinct_s']:.2f} s; a whole decision {each('whole_s', told['bodies']):.0f} µs")
    per_100k = 100_000 / items
    return Section(
        "decision",
        [
            Figure("decision.verdict_us", each("distinct_s", items), "image to verdict, no name twice"),
            Figure("decision.repeated_us", each("repeated_s", items), "the same where only versions differ"),
            Figure(
                "decision.distinct_100k_s",
                told["distinct_s"] * per_100k,
                f"100,000 images, no name twice{'' if per_100k == 1 else f' (of {items:,})'}",
            ),
            Figure("decision.facts_us", each("facts_s", told["bodies"]), "reading the facts of a VM's parsed body"),
            Figure("decision.policy_us", each("policy_s", told["bodies"]), "the shipped policy, for one VM"),
            Figure("decision.long_rule_us", each("long_rule_s", told["bodies"]), "a rule of 100 images, none fits"),
            Figure("decision.whole_us", each("whole_s", told["bodies"]), "a VM's body, from JSON to the decision"),
            Figure("decision.ratio_to_parsing", whole / parsing, "to parsing the VM's body as JSON and no more"),
        ],
    )
