"""The CPU time of decisions, without any I/O."""

from __future__ import annotations

from bench.parts import run_child
from bench.report import Figure, Section
from bench.run import Run
from bench.workload import WORKSPACE, WORKSPACE_KEY

_SETTINGS = {"OMS_WORKSPACE_ID": WORKSPACE, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}


def measure(run: Run) -> Section:
    items = 10_000 if run.quick else 100_000
    result = run_child("bench.programs.decision", {"items": items}, _SETTINGS)
    whole, parsing = result["whole_s"], result["parsing_s"]

    def each(what: str, count: int) -> float:
        return 1e6 * float(result[what]) / count

    run.say(
        f"{items:,} images: {result['distinct_s']:.2f} s; a whole decision {each('whole_s', result['bodies']):.0f} µs"
    )
    per_100k = 100_000 / items
    return Section(
        "decision",
        [
            Figure("decision.verdict_us", each("distinct_s", items), "image to verdict, all names distinct"),
            Figure("decision.repeated_us", each("repeated_s", items), "the same, if only versions differ"),
            Figure(
                "decision.distinct_100k_s",
                result["distinct_s"] * per_100k,
                f"100,000 images, all names distinct{'' if per_100k == 1 else f' (of {items:,})'}",
            ),
            Figure("decision.facts_us", each("facts_s", result["bodies"]), "reading the facts of a VM's parsed body"),
            Figure("decision.policy_us", each("policy_s", result["bodies"]), "the shipped policy, for one VM"),
            Figure(
                "decision.long_rule_us", each("long_rule_s", result["bodies"]), "a rule of 100 images, none matches"
            ),
            Figure("decision.whole_us", each("whole_s", result["bodies"]), "a VM's body, from JSON to the decision"),
            Figure("decision.ratio_to_parsing", whole / parsing, "compared with only parsing the VM's body as JSON"),
        ],
    )
