"""Two ways to tell which images an extension belongs on, counted against labelled images.

One is ours; the other is an Azure Policy rule, which matches or does not and cannot say "unknown": what it does not
match, it leaves alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.domain.catalog.support_table import SupportTable, Verdict, judge
from onboarding.domain.image.os_identification import release_of_image
from onboarding.domain.image.os_release import OsRelease, OsSource, os_type_of
from onboarding.domain.machine.machine_facts import ImageReference, OsType, read_image
from onboarding.domain.reference_data import ReferenceData

type Teller = Callable[[ImageReference], Verdict]

_EXAMPLES = 10
_ROWS: tuple[tuple[Verdict, Verdict, str], ...] = (
    (Verdict.SUPPORTED, Verdict.SUPPORTED, "supported: installed (right)"),
    (Verdict.SUPPORTED, Verdict.UNKNOWN, "supported: silent"),
    (Verdict.SUPPORTED, Verdict.UNSUPPORTED, "supported: left alone (wrong)"),
    (Verdict.UNSUPPORTED, Verdict.UNSUPPORTED, "not supported: left alone (right)"),
    (Verdict.UNSUPPORTED, Verdict.UNKNOWN, "not supported: silent"),
    (Verdict.UNSUPPORTED, Verdict.SUPPORTED, "not supported: installed (wrong)"),
    (Verdict.UNKNOWN, Verdict.UNKNOWN, "name does not tell: silent (right)"),
    (Verdict.UNKNOWN, Verdict.UNSUPPORTED, "name does not tell: left alone"),
    (Verdict.UNKNOWN, Verdict.SUPPORTED, "name does not tell: installed (wrong)"),
)


class LabelledImage(Struct, frozen=True):
    """An image, and what a person says it holds."""

    image: ImageReference
    distribution: str
    version: str | None

    def truth(self, table: SupportTable, reference: ReferenceData) -> Verdict:
        """What the table says of the label. Labels do not tell the architecture; the name does."""
        architecture = release_of_image(self.image, reference).architecture
        reason, os_type = "the label", os_type_of(self.distribution)
        label = OsRelease(self.distribution, self.version, architecture, os_type, OsSource.NONE, reason)
        return judge(label, table).verdict


def read_label(raw: Mapping[str, Any]) -> LabelledImage | None:
    """Read `{publisher, offer, sku, distro, os_version}`; None if that is not what it is."""
    image = read_image(raw)
    if not image.publisher or not isinstance(raw.get("distro"), str):
        return None
    version = raw.get("os_version")
    return LabelledImage(image, raw["distro"], version if isinstance(version, str) else None)


def by_name(table: SupportTable, reference: ReferenceData) -> Teller:
    """Our own answer from the image's name."""
    return lambda image: judge(release_of_image(image, reference), table).verdict


def by_rule(matches: Callable[[Mapping[str, Any]], bool], reference: ReferenceData) -> Teller:
    """A policy rule's answer for a VM of this image."""
    return lambda image: Verdict.SUPPORTED if matches(_vm_of(image, reference)) else Verdict.UNSUPPORTED


def compare(
    labels: Sequence[LabelledImage], table: SupportTable, tellers: Mapping[str, Teller], reference: ReferenceData
) -> str:
    """A section of the page: one line a kind of answer, one column a teller, and examples of what goes wrong."""
    truths = [label.truth(table, reference) for label in labels]
    told = {name: [teller(label.image) for label in labels] for name, teller in tellers.items()}
    counts = {name: Counter(zip(truths, answers, strict=True)) for name, answers in told.items()}
    lines = [
        f"### {len(labels)} images against {table}",
        "",
        f"| | {' | '.join(tellers)} |",
        f"|---|{'---|' * len(told)}",
    ]
    for truth, answer, text in _ROWS:
        lines.append(f"| {text} | {' | '.join(str(counts[name][truth, answer]) for name in tellers)} |")
    for name, answers in told.items():
        lines += _examples(name, labels, truths, answers)
    return "\n".join(lines) + "\n"


def _examples(
    name: str, labels: Sequence[LabelledImage], truths: Iterable[Verdict], answers: Iterable[Verdict]
) -> list[str]:
    lines: list[str] = []
    cases = list(zip(labels, truths, answers, strict=True))
    for verdict, kind in ((Verdict.UNSUPPORTED, "leaves alone"), (Verdict.SUPPORTED, "installs on")):
        opposite = Verdict.SUPPORTED if verdict is Verdict.UNSUPPORTED else Verdict.UNSUPPORTED
        wrong = [_urn(label.image) for label, truth, answer in cases if truth is opposite and answer is verdict]
        if wrong:
            step = -(-len(wrong) // _EXAMPLES)
            shown = ", ".join(f"`{urn}`" for urn in wrong[::step])
            lines += ["", f"{name} wrongly {kind} {len(wrong)}, such as {shown}."]
    return lines


def _urn(image: ImageReference) -> str:
    return f"{image.publisher}:{image.offer}:{image.sku}"


def _vm_of(image: ImageReference, reference: ReferenceData) -> dict[str, Any]:
    told = release_of_image(image, reference).os_type
    os_type = OsType.LINUX if told is OsType.UNKNOWN else told
    named = {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": "latest"}
    return {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
        "name": "vm",
        "type": "Microsoft.Compute/virtualMachines",
        "location": "westeurope",
        "properties": {"storageProfile": {"imageReference": named, "osDisk": {"osType": os_type.value}}},
    }
