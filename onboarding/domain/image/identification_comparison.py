"""Compares two ways to decide on which images an extension belongs, against images that people labelled.

One way is ours; the other is an Azure Policy rule, which matches or does not and cannot answer "unknown": it does not
install on an image that it does not match.
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

type Classifier = Callable[[ImageReference], Verdict]

_EXAMPLES = 10
_ROWS: tuple[tuple[Verdict, Verdict, str], ...] = (
    (Verdict.SUPPORTED, Verdict.SUPPORTED, "supported: installed (right)"),
    (Verdict.SUPPORTED, Verdict.UNKNOWN, "supported: no answer"),
    (Verdict.SUPPORTED, Verdict.UNSUPPORTED, "supported: not installed (wrong)"),
    (Verdict.UNSUPPORTED, Verdict.UNSUPPORTED, "not supported: not installed (right)"),
    (Verdict.UNSUPPORTED, Verdict.UNKNOWN, "not supported: no answer"),
    (Verdict.UNSUPPORTED, Verdict.SUPPORTED, "not supported: installed (wrong)"),
    (Verdict.UNKNOWN, Verdict.UNKNOWN, "not known from the name: no answer (right)"),
    (Verdict.UNKNOWN, Verdict.UNSUPPORTED, "not known from the name: not installed"),
    (Verdict.UNKNOWN, Verdict.SUPPORTED, "not known from the name: installed (wrong)"),
)


class LabelledImage(Struct, frozen=True):
    """An image, and the operating system that a person says it has."""

    image: ImageReference
    distribution: str
    version: str | None  # None if the label has none

    def truth(self, table: SupportTable, reference: ReferenceData) -> Verdict:
        """The table's verdict on the label. Labels have no architecture, so it comes from the name."""
        architecture = release_of_image(self.image, reference).architecture
        reason, os_type = "the label", os_type_of(self.distribution)
        label = OsRelease(self.distribution, self.version, architecture, os_type, OsSource.NONE, reason)
        return judge(label, table).verdict


def read_label(raw: Mapping[str, Any]) -> LabelledImage | None:
    """Read `{publisher, offer, sku, distro, os_version}`; None for anything else."""
    image = read_image(raw)
    if not image.publisher or not isinstance(raw.get("distro"), str):
        return None
    version = raw.get("os_version")
    return LabelledImage(image, raw["distro"], version if isinstance(version, str) else None)


def by_name(table: SupportTable, reference: ReferenceData) -> Classifier:
    """Our own answer from the image's name."""
    return lambda image: judge(release_of_image(image, reference), table).verdict


def by_rule(matches: Callable[[Mapping[str, Any]], bool], reference: ReferenceData) -> Classifier:
    """A policy rule's answer for a VM of this image."""
    return lambda image: Verdict.SUPPORTED if matches(_vm_of(image, reference)) else Verdict.UNSUPPORTED


def compare(
    labels: Sequence[LabelledImage],
    table: SupportTable,
    classifiers: Mapping[str, Classifier],
    reference: ReferenceData,
) -> str:
    """A section of the page: a row for each kind of answer, a column for each way, and examples of wrong answers."""
    truths = [label.truth(table, reference) for label in labels]
    answers_of = {name: [classify(label.image) for label in labels] for name, classify in classifiers.items()}
    counts = {name: Counter(zip(truths, answers, strict=True)) for name, answers in answers_of.items()}
    lines = [
        f"### {len(labels)} images against {table}",
        "",
        f"| | {' | '.join(classifiers)} |",
        f"|---|{'---|' * len(classifiers)}",
    ]
    for truth, answer, text in _ROWS:
        lines.append(f"| {text} | {' | '.join(str(counts[name][truth, answer]) for name in classifiers)} |")
    for name, answers in answers_of.items():
        lines += _examples(name, labels, truths, answers)
    return "\n".join(lines) + "\n"


def _examples(
    name: str, labels: Sequence[LabelledImage], truths: Iterable[Verdict], answers: Iterable[Verdict]
) -> list[str]:
    lines: list[str] = []
    cases = list(zip(labels, truths, answers, strict=True))
    for verdict, kind in ((Verdict.UNSUPPORTED, "does not install on"), (Verdict.SUPPORTED, "installs on")):
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
    known = release_of_image(image, reference).os_type
    os_type = OsType.LINUX if known is OsType.UNKNOWN else known
    image_reference = {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": "latest"}
    return {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
        "name": "vm",
        "type": "Microsoft.Compute/virtualMachines",
        "location": "westeurope",
        "properties": {"storageProfile": {"imageReference": image_reference, "osDisk": {"osType": os_type.value}}},
    }
