"""What an extension that we installed lacks since its policy or its catalogue entry has changed: a newer version,
another choice of automatic upgrades, other settings. A lower version is never an update.

Settings that somebody else has changed are drift and no update. Nor is a change of the destination without `reconnect`,
or of what stands for an identity: `installed_extension` and `identity_step` decide on these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import given_settings
from onboarding.domain.catalog.handler_version import is_lower, major_minor
from onboarding.domain.catalog.setting_schema import Path, written
from onboarding.domain.catalog.setting_templates import machine_templates_in
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import InstalledExtension
from onboarding.domain.policy.installed_extension import elsewhere
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy_digest import same_version
from onboarding.domain.reconcile.row import ACCEPTED, Outcome

_MOST_NAMED, _NAME_LIMIT = 20, 100  # settings that a row names, and characters of each


class SentRow(Protocol):
    """What a row, or the summary of one, says of our last request."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def waiting_for(self) -> str | None: ...
    @property
    def policy_hash(self) -> str: ...
    @property
    def sent_digest(self) -> str: ...
    @property
    def protected_digest(self) -> str: ...
    @property
    def update(self) -> str: ...


class _AsItIs(Struct, frozen=True):
    """A row that says that we installed an extension as it is."""

    sent_digest: str
    outcome: Outcome = Outcome.INSTALLED
    waiting_for: str | None = None
    policy_hash: str = ""
    protected_digest: str = ""
    update: str = ""


class Upgrades(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What names the version of a handler; empty or None where it does not change."""

    version: str = ""
    enable_automatic_upgrade: bool | None = None


_SAME = Upgrades()


class Update(
    Struct, frozen=True, omit_defaults=True, rename={"from_": "from", "protected_settings": "protectedSettings"}
):
    """What changes. It names settings and never has their values."""

    from_: Upgrades | None = None
    to: Upgrades | None = None
    settings: tuple[str, ...] = ()
    """The public settings, such as `proxy.mode`."""
    protected_settings: bool = False

    def __str__(self) -> str:
        words, (before, after) = [], self.upgrades
        if after.version:
            words.append(f"{before.version} → {after.version}")
        if after.enable_automatic_upgrade is not None:
            switch = (str(each.enable_automatic_upgrade).lower() for each in (before, after))
            words.append(f"enableAutomaticUpgrade {' → '.join(switch)}")
        if self.settings:
            words.append(f"settings {', '.join(self.settings)}")
        return ", ".join([*words, *(["protected settings"] if self.protected_settings else [])])

    @property
    def upgrades(self) -> tuple[Upgrades, Upgrades]:
        """Before and after."""
        return self.from_ or _SAME, self.to or _SAME

    def to_column(self) -> str:
        """The update as the row's column `Update` has it."""
        return msgspec.json.encode(self).decode()


def from_column(text: str) -> Update:
    """The update of the column; one without any change if it is empty, or perhaps of a newer version."""
    try:
        return msgspec.json.decode(text, type=Update) if text else Update()
    except msgspec.DecodeError:  # also a ValidationError
        return Update()


def is_done(column: str, extension: InstalledExtension) -> bool:
    """Whether the extension shows what the update of a row changes of its version and its automatic upgrades."""
    _, to = from_column(column).upgrades
    upgrades = to.enable_automatic_upgrade
    as_wanted = upgrades is None or upgrades == bool(extension.enable_automatic_upgrade)
    return as_wanted and not is_lower(extension.version, to.version)


def update_of(
    entry: CatalogueEntry,
    policy: Policy,
    extension: InstalledExtension,
    row: SentRow,
    settings: Mapping[str, Any],
    protected_digest: str = "",
    *,
    again: bool = False,
) -> Update | None:
    """What changes of an extension that is there, healthy and ours; None if nothing does. `row` is about it, `settings`
    are the public ones that would be sent.

    A version and a choice of upgrades that were sent and that the machine does not show are not sent `again`, unless a
    person or another version of the policy asks for it."""
    before, after = _upgrades(entry, extension)
    last_before, last_after = from_column(row.update).upgrades
    if not again and same_version(row.policy_hash, policy.digest):
        if row.outcome.final and (before.version, after.version) == (last_before.version, last_after.version):
            before, after = _without(before, after, version=True)
        sent = row.outcome.final or row.waiting_for in ACCEPTED
        if sent and after.enable_automatic_upgrade is last_after.enable_automatic_upgrade:
            before, after = _without(before, after, version=False)
    changed = tuple(_changed_settings(entry, policy, extension, row, settings))
    protected = "" not in (row.protected_digest, protected_digest) and row.protected_digest != protected_digest
    upgrades = after != _SAME
    update = Update(before if upgrades else None, after if upgrades else None, changed, protected)
    return None if update == Update() else update


def if_ours(
    entry: CatalogueEntry, policy: Policy, extension: InstalledExtension, settings: Mapping[str, Any]
) -> Update | None:
    """The same where no row says whose the extension is: what would change if we installed it as it is."""
    return update_of(entry, policy, extension, _AsItIs(digest(extension.settings)), settings)


def beside_policy(entry: CatalogueEntry, policy: Policy, extension: InstalledExtension) -> str:
    """How the version of an extension that is left as it is differs from the policy's, in words; empty if it does
    not."""
    for there in (extension.version, extension.handler_version):
        numbers, wanted = major_minor(there), major_minor(entry.version)
        if numbers is None or wanted is None:
            continue
        if numbers[0] > wanted[0] or (there == extension.version and numbers > wanted):
            return f"it has {there}, policy {policy.name} asks for {entry.version}: the newer version is left"
    if _is_older(entry, extension):
        return f"it has {extension.version}, policy {policy.name} asks for {entry.version}"
    return ""


def _upgrades(entry: CatalogueEntry, extension: InstalledExtension) -> tuple[Upgrades, Upgrades]:
    """Before and after. ARM leaves `enableAutomaticUpgrade` out of the body of an extension that was sent without."""
    before, after = (extension.version, entry.version) if _is_older(entry, extension) else ("", "")
    there, wanted = bool(extension.enable_automatic_upgrade), entry.enable_automatic_upgrade
    if wanted in (None, there) or not extension.version:  # a list that names the extension alone
        return Upgrades(before), Upgrades(after)
    return Upgrades(before, there), Upgrades(after, wanted)


def _is_older(entry: CatalogueEntry, extension: InstalledExtension) -> bool:
    """Whether the version that was requested is lower than the entry's, and so is the one that runs, if that is known:
    minor versions may have been upgraded since."""
    runs_lower = major_minor(extension.handler_version) is None or is_lower(extension.handler_version, entry.version)
    return is_lower(extension.version, entry.version) and runs_lower


def _without(before: Upgrades, after: Upgrades, *, version: bool) -> tuple[Upgrades, Upgrades]:
    if version:
        return Upgrades("", before.enable_automatic_upgrade), Upgrades("", after.enable_automatic_upgrade)
    return Upgrades(before.version), Upgrades(after.version)


def _changed_settings(
    entry: CatalogueEntry, policy: Policy, extension: InstalledExtension, row: SentRow, settings: Mapping[str, Any]
) -> Iterator[str]:
    there = extension.settings
    changed = [path for path in _differing(there, settings, ()) if not _is_left(path, entry, policy, settings)]
    if not changed or not row.sent_digest or digest(there) != row.sent_digest:
        return
    if not policy.reconnect and elsewhere(entry, settings, extension):
        return
    yield from (written(path)[:_NAME_LIMIT] for path in changed[:_MOST_NAMED])


def _is_left(path: Path, entry: CatalogueEntry, policy: Policy, settings: Mapping[str, Any]) -> bool:
    """Whether a setting may differ: it stands for an identity, or a person's `--reconnect` added it."""
    name = str(path[0])
    given = given_settings(entry, policy)["settings"].get(name)
    if any(template.startswith("identity.") for template in machine_templates_in(given)):
        return True
    return name in entry.reconnect_settings and name not in settings


def _differing(there: Any, wanted: Any, path: Path) -> Iterator[Path]:
    """The paths of all values that are added, changed or gone. A list counts as a whole."""
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        for name in dict.fromkeys((*there, *wanted)):
            if name in there and name in wanted:
                yield from _differing(there[name], wanted[name], (*path, str(name)))
            else:
                yield (*path, str(name))
    elif there != wanted:
        yield path
