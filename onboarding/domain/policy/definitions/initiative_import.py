"""Makes policies of ours from the members of an initiative: an extension becomes a policy, and the identity and the
association that belong to it become its steps.

A policy decides on each VM as its members do. Where a step's member selects fewer VMs than the extension's, the policy
becomes two that exclude each other, one with the step and one without. What becomes nothing of ours is in the result
too, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import replace
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.entry_file import IdentityNeed
from onboarding.domain.catalog.entry_of_request import entry_name, entry_of_request, os_named
from onboarding.domain.catalog.setting_templates import texts_in
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Undecided
from onboarding.domain.policy.definitions.condition_logic import (
    Reduced,
    beyond,
    bound,
    conjuncts,
    field_of,
    implies,
    joined,
    leaves,
    negated,
    reduced,
    replaced,
)
from onboarding.domain.policy.definitions.definition import Definition
from onboarding.domain.policy.definitions.definition_import import is_cut, slug
from onboarding.domain.policy.definitions.imported_settings import settings_of
from onboarding.domain.policy.definitions.member import (
    AssociationMember,
    ExtensionMember,
    IdentityMember,
    NotTakenOver,
    Wanted,
    about_identity,
    read_member,
)
from onboarding.domain.policy.definitions.operating_system import os_of_rule

_EFFECTS: Final = {
    "deployifnotexists": "deployIfNotExists",
    "auditifnotexists": "auditIfNotExists",
    "disabled": "disabled",
}
_MAX_NAME: Final = 64
_BEHIND: Final = ("", "then-", "zz-")  # what puts a name behind others
_PLACES: Final = ("location", "tags", "identity.", "id", "name")  # what a condition may ask beside the kind of machine


class SetMember(Struct, frozen=True):
    """One member of an initiative."""

    reference: str
    definition_id: str
    definition: Definition | None  # None: it was not found
    values: Mapping[str, Any]  # that the initiative passes to it
    problem: str = ""  # why it cannot be read; empty if it can
    fix: str = ""
    names: Mapping[str, str] = {}  # of its parameters, in the initiative
    note: str = ""  # what a person should know of its definition


class Becomes(Struct, frozen=True):
    """What a member became."""

    policy: str
    step: str  # extension, identity, association


class MemberResult(Struct, frozen=True):
    """What came of one member."""

    reference: str
    definition_id: str
    display_name: str
    effect: str  # of the definition with its parameters; empty if it is not taken over
    becomes: tuple[Becomes, ...]
    reason: str = ""  # why it became nothing; empty if it became something
    fix: str = ""  # what a person may do about that
    notes: tuple[str, ...] = ()  # where it differs from the member, or what to give

    def as_dict(self) -> dict[str, Any]:
        said = {
            "member": self.reference,
            "definition": self.definition_id,
            "displayName": self.display_name,
            "effect": self.effect,
            "becomes": [{"policy": each.policy, "step": each.step} for each in self.becomes],
            "reason": self.reason,
            "fix": self.fix,
            "notes": list(self.notes),
        }
        return {key: value for key, value in said.items() if value or key == "becomes"}


class ImportedSet(Struct, frozen=True):
    """All that came of an initiative."""

    policies: tuple[Mapping[str, Any], ...]  # the contents of policy files
    entries: tuple[Mapping[str, Any], ...]  # the contents of entry files for extensions that the catalogue lacks
    members: tuple[MemberResult, ...]  # in the order of the initiative


class _Handler(Struct, frozen=True):
    """An extension that policies may name."""

    name: str
    publisher: str
    type: str
    os: OsType
    identity: str
    needs: tuple[str, ...]
    entry: CatalogueEntry | None  # None for a new entry


class _Piece(Struct, frozen=True):
    """One policy to be."""

    rule: Mapping[str, Any]
    asks: Reduced  # apart from identities
    identity: Mapping[str, Any] | None = None
    rules: tuple[str, ...] = ()
    endpoint: str = ""
    without: tuple[str, ...] = ()  # the steps that its twin has
    steps: tuple[tuple[int, str], ...] = ()  # the other members in it, by number
    changed: bool = False  # the rule is not the member's own

    @property
    def asks_identity(self) -> bool:
        """Whether the VM must have an identity already."""
        return self.identity is None and any(map(about_identity, leaves(self.rule)))


def import_initiative(
    members: Sequence[SetMember], catalogue: Mapping[str, CatalogueEntry], initiative: str = ""
) -> ImportedSet:
    """The policies for an initiative's members. `initiative` is its name, for `source`."""
    return _Import(members, catalogue, initiative).result()


class _Import:
    def __init__(self, members: Sequence[SetMember], catalogue: Mapping[str, CatalogueEntry], initiative: str) -> None:
        self._members = members
        self._initiative = initiative
        self._handlers = [
            _Handler(e.name, e.publisher, e.type, e.os_type, e.needs.identity, e.needs.extensions, e)
            for e in catalogue.values()
        ]
        self._entries: list[dict[str, Any]] = []
        self._becomes: dict[int, list[Becomes]] = {}
        self._notes: dict[int, list[str]] = {n: [each.note] for n, each in enumerate(members) if each.note}
        self._wanted = [_read(member) for member in members]

    def result(self) -> ImportedSet:
        chosen = self._extensions()
        pieces = {number: [_own_piece(self._extension(number))] for number in chosen}
        self._add_identities(chosen, pieces)
        self._add_associations(chosen, pieces)
        for number, wanted in enumerate(self._wanted):
            if not isinstance(wanted, NotTakenOver) and wanted.also:
                note = f"its deployment also writes {', '.join(wanted.also)}, and no policy does that"
                self._notes.setdefault(number, []).append(note)
        deploying = self._deploying(chosen)
        ordered = [*deploying, *(number for number in chosen if number not in deploying)]
        policies = [policy for number in ordered for policy in self._policies(number, chosen, pieces)]
        members = tuple(self._result_of(number) for number in range(len(self._members)))
        return ImportedSet(tuple(policies), tuple(self._entries), members)

    def _extension(self, number: int) -> ExtensionMember:
        wanted = self._wanted[number]
        assert isinstance(wanted, ExtensionMember)
        return wanted

    def _extensions(self) -> dict[int, tuple[_Handler, ...]]:
        """The extension members by number, with the extensions that each may install. Those that name a type go first:
        others look among their extensions too; and among these the deploying ones, whose templates tell most."""
        numbers = [n for n, wanted in enumerate(self._wanted) if isinstance(wanted, ExtensionMember)]
        found: dict[int, tuple[_Handler, ...]] = {}
        for number in sorted(numbers, key=self._telling_less):
            wanted = self._extension(number)
            handlers = tuple(self._found(number, wanted))
            if handlers:
                found[number] = handlers
                continue
            named = ", ".join(f"{publisher} {type_}".rstrip() for publisher, type_ in wanted.handlers)
            self._wanted[number] = NotTakenOver(
                f"it does not say which extension of {named} it is about, and the catalogue has none of that publisher",
                "write an entry for the extension in the policies' folder extensions/, then import again",
            )
        return {number: found[number] for number in numbers if number in found}

    def _telling_less(self, number: int) -> tuple[bool, bool]:
        wanted = self._extension(number)
        return any(not type_ for _, type_ in wanted.handlers), wanted.template is None

    def _found(self, number: int, wanted: ExtensionMember) -> Iterator[_Handler]:
        """The extension for each operating system; one that the catalogue lacks gets an entry."""
        by_system: dict[OsType, _Handler] = {}
        for publisher, type_ in wanted.handlers:
            known = [
                each
                for each in self._handlers
                if each.publisher.lower() == publisher.lower() and type_.lower() in ("", each.type.lower())
            ]
            if not known and type_:
                known = [self._new_handler(publisher, type_, wanted)]
            for each in known:
                if by_system.setdefault(each.os, each) is not each:
                    note = (
                        f"{each.name} would do, too; a policy has one extension for each operating system, here"
                        f" {by_system[each.os].name}"
                    )
                    self._notes.setdefault(number, []).append(note)
        yield from by_system.values()

    def _new_handler(self, publisher: str, type_: str, wanted: ExtensionMember) -> _Handler:
        template = wanted.template
        naming = [each for each, _ in self._naming(publisher, type_) if each.template]
        os = self._system_of(publisher, type_)
        identity = IdentityNeed.SYSTEM if wanted.identity else IdentityNeed.NONE
        if template and any("{identity." in text for _, text in texts_in(template.settings)):
            identity = IdentityNeed.ANY
        settings = [each.template.settings for each in naming if each.template]
        protected = [each.template.protected_settings for each in naming if each.template]
        content = entry_of_request(
            publisher,
            type_,
            os,
            version=template.version if template else "",
            resource_name=template.name if template else "",
            automatic_upgrade=template.enable_automatic_upgrade if template else None,
            minor_upgrades=template.auto_upgrade_minor_version if template else True,
            identity=identity,
            settings={name: value for each in reversed(settings) for name, value in each.items()},
            protected_settings={name: value for each in reversed(protected) for name, value in each.items()},
        )
        name = entry_name(type_, os)
        while any(each.name == name for each in self._handlers):
            name = f"{name}-own"
        self._entries.append({**content, "name": name})
        handler = _Handler(name, publisher, type_, os, identity, (), None)
        self._handlers.append(handler)
        return handler

    def _naming(self, publisher: str, type_: str) -> list[tuple[ExtensionMember, SetMember]]:
        """The members that may want an extension."""
        handler = (publisher.lower(), type_.lower())
        return [
            (wanted, member)
            for wanted, member in zip(self._wanted, self._members, strict=True)
            if isinstance(wanted, ExtensionMember) and handler in [(p.lower(), t.lower()) for p, t in wanted.handlers]
        ]

    def _system_of(self, publisher: str, type_: str) -> OsType:
        """The operating system of an extension that the catalogue lacks: what its own names tell, else the rules that
        want it, else the other system than that of an extension that a member takes instead, else its members' names;
        Linux if nothing tells it."""
        naming = self._naming(publisher, type_)
        beside = {
            os_named(other, by)
            for wanted, _ in naming
            for by, other in wanted.handlers
            if other.lower() != type_.lower()
        }
        others = {OsType.LINUX: OsType.WINDOWS, OsType.WINDOWS: OsType.LINUX}
        for systems in (
            {os_named(type_, publisher)},
            {os_of_rule(wanted.rule) for wanted, _ in naming},
            {others.get(each, OsType.UNKNOWN) for each in beside},
            {os_named(member.reference, member.definition.display_name) for _, member in naming if member.definition},
        ):
            known = systems - {OsType.UNKNOWN}
            if len(known) == 1:
                return known.pop()
        return OsType.LINUX

    def _deploying(self, chosen: Mapping[int, tuple[_Handler, ...]]) -> list[int]:
        return [number for number in chosen if self._extension(number).effect.lower() == "deployifnotexists"]

    def _add_identities(self, chosen: Mapping[int, tuple[_Handler, ...]], pieces: dict[int, list[_Piece]]) -> None:
        groups: dict[bool, list[int]] = {}
        for number, wanted in enumerate(self._wanted):
            if isinstance(wanted, IdentityMember) and self._acts(number, wanted.effect):
                groups.setdefault(wanted.add == SYSTEM, []).append(number)
        deploying = self._deploying(chosen)
        needing = [n for n in deploying if self._needs_identity(n, chosen[n])] or deploying
        for number in needing if groups else ():
            system = self._extension(number).identity or any(
                each.identity == IdentityNeed.SYSTEM for each in chosen[number]
            )
            group = groups.get(system) or groups[not system]
            if group is not groups.get(system) and system:
                named = " and ".join(each.name for each in chosen[number] if each.identity == IdentityNeed.SYSTEM)
                note = f"{named or 'the extension'} needs the system-assigned identity, and these members add another"
                self._notes.setdefault(number, []).append(note)
            pieces[number] = [each for piece in pieces[number] for each in self._with_identity(number, piece, group)]
        for number, wanted in enumerate(self._wanted):
            if isinstance(wanted, IdentityMember):
                self._left_over(number, wanted.asks, [piece for each in pieces.values() for piece in each], "identity")

    def _needs_identity(self, number: int, handlers: tuple[_Handler, ...]) -> bool:
        wanted = self._extension(number)
        named = wanted.template and any("{identity." in text for _, text in texts_in(wanted.template.settings))
        return wanted.identity or bool(named) or any(each.identity != IdentityNeed.NONE for each in handlers)

    def _with_identity(self, number: int, piece: _Piece, group: list[int]) -> Iterator[_Piece]:
        """The policy with the identity step where its members add one, and without it elsewhere."""
        members = [wanted for n in group if isinstance(wanted := self._wanted[n], IdentityMember)]
        asks = beyond(piece.asks, joined("anyOf", [each.asks for each in members]))
        if asks is False:
            yield piece
            return
        lacks = joined("anyOf", [each.lacks for each in members])
        beside = any(each.beside_others for each in members)
        sole = any(each.sole for each in members)
        need = {"use": "sole" if sole else "added" if beside else "any", "add": members[0].add}
        if beside:
            need["besideOthers"] = True  # type: ignore[assignment]
        rule, changed = piece.rule, piece.changed
        if self._extension(number).identity:
            rule, changed = _once_added(rule, lacks), True
        steps = (*piece.steps, *((n, "identity") for n in group))
        yield from _split(
            piece, replace(piece, rule=rule, identity=need, steps=steps, changed=changed), asks, "identity"
        )

    def _add_associations(self, chosen: Mapping[int, tuple[_Handler, ...]], pieces: dict[int, list[_Piece]]) -> None:
        for number, wanted in enumerate(self._wanted):
            if not isinstance(wanted, AssociationMember) or not self._acts(number, wanted.effect):
                continue
            for agent in self._agents(number, chosen):
                pieces[agent] = [each for piece in pieces[agent] for each in _with_association(number, wanted, piece)]
            self._left_over(number, wanted.asks, [piece for each in pieces.values() for piece in each], "association")

    def _agents(self, number: int, chosen: Mapping[int, tuple[_Handler, ...]]) -> list[int]:
        """The extension members whose agent takes the rule: for each operating system the extension that needs no other
        one, rather one with an identity."""
        wanted, member = self._wanted[number], self._members[number]
        assert isinstance(wanted, AssociationMember)
        said = os_named(member.reference, member.definition.display_name if member.definition else "")
        best: dict[OsType, tuple[tuple[bool, bool], str]] = {}
        for each in self._deploying(chosen):
            for handler in chosen[each]:
                rank = (bool(handler.needs), handler.identity == IdentityNeed.NONE)
                if handler.os not in best or rank < best[handler.os][0]:
                    best[handler.os] = rank, handler.name
        names = {name for _, name in best.values()}
        return [
            each
            for each in self._deploying(chosen)
            if any(handler.name in names and self._fits(wanted, each, handler, said) for handler in chosen[each])
        ]

    def _fits(self, wanted: AssociationMember, number: int, handler: _Handler, said: OsType) -> bool:
        asks = beyond(reduced(self._extension(number).rule, about_identity), wanted.asks)
        if asks is False:
            return False
        if all(field_of(leaf).startswith(_PLACES) for leaf in leaves(asks) if asks is not True):
            return True
        return said in (OsType.UNKNOWN, handler.os)

    def _acts(self, number: int, effect: str) -> bool:
        """Whether a step's member does something; else it is left out, with the reason."""
        if effect.lower() == "deployifnotexists":
            return True
        word = "its effect is disabled" if effect.lower() == "disabled" else f"its effect is {effect}: it only looks"
        self._wanted[number] = NotTakenOver(f"{word}, and a policy has its steps or not", "give another effect to it")
        return False

    def _left_over(self, number: int, asks: Reduced, pieces: Sequence[_Piece], step: str) -> None:
        """Say on which VMs the member alone would act."""
        own = [piece for piece in pieces if (number, step) in piece.steps]
        if not own:
            return
        # A rule that asks for an identity which nobody adds selects fewer VMs than it asks for apart from identities.
        selected = [reduced(piece.rule) if piece.asks_identity else piece.asks for piece in own]
        if not implies(asks, joined("anyOf", selected)):
            note = (
                f"on VMs that get no extension from this initiative there is no {step} step: it belongs to an extension"
            )
            self._notes.setdefault(number, []).append(note)

    def _policies(
        self, number: int, chosen: Mapping[int, tuple[_Handler, ...]], pieces: Mapping[int, list[_Piece]]
    ) -> Iterator[Mapping[str, Any]]:
        wanted, member = self._extension(number), self._members[number]
        assert member.definition is not None
        base = self._decided_after(number, chosen)
        for piece in pieces[number]:
            name = base
            for step in piece.without:
                suffix = f"-without-{step}"
                name = f"{name[: _MAX_NAME - len(suffix)]}{suffix}"
            self._becomes.setdefault(number, []).append(Becomes(name, "extension"))
            for other, step in piece.steps:
                self._becomes.setdefault(other, []).append(Becomes(name, step))
            yield self._policy(name, number, wanted, chosen[number], piece)

    def _decided_after(self, number: int, chosen: Mapping[int, tuple[_Handler, ...]]) -> str:
        """The policy's name. For one extension the first policy by name decides, so one that only audits gets a name
        behind those that install its extension."""
        name = self._name(number)
        if self._extension(number).effect.lower() != "auditifnotexists":
            return name
        own = {handler.name for handler in chosen[number]}
        same = [n for n in chosen if n != number and own & {handler.name for handler in chosen[n]}]
        others = [self._name(n) for n in self._deploying(chosen) if n in same]
        for n in same:
            first = self._name(n) in others or (
                self._extension(n).effect.lower() != "disabled" and self._name(n) < name
            )
            if first and self._existence(n) != self._existence(number):
                note = (
                    f"on VMs that {self._members[n].reference} selects, too, that one's existence condition says"
                    " whether the extension is as wanted"
                )
                self._notes.setdefault(number, []).append(note)
        if any(other > name for other in others):
            self._notes.setdefault(number, []).append(
                "for one extension the first policy by name decides, so its name puts it behind those that install"
            )
        for prefix in _BEHIND:
            if all(other < f"{prefix}{name}" for other in others):
                break
        return f"{prefix}{name}"[:_MAX_NAME]

    def _existence(self, number: int) -> Any:
        member = self._members[number]
        assert member.definition is not None
        return bound(member.definition.details.get("existenceCondition"), member.definition.resolve(member.values))

    def _policy(
        self, name: str, number: int, wanted: ExtensionMember, handlers: tuple[_Handler, ...], piece: _Piece
    ) -> Mapping[str, Any]:
        member = self._members[number]
        definition = member.definition
        assert definition is not None
        existence = definition.details.get("existenceCondition")
        given = definition.resolve(member.values)
        policy: dict[str, Any] = {
            "name": name,
            "effect": _EFFECTS[wanted.effect.lower()],
            "extension": handlers[0].name if len(handlers) == 1 else [each.name for each in handlers],
            "identity": dict(piece.identity) if piece.identity else None,
            "dataCollectionRules": list(piece.rules) or None,
            "dataCollectionEndpoint": piece.endpoint or None,
            "scope": [],
        }
        if piece.changed:
            policy |= {"rule": piece.rule, "existenceCondition": bound(existence, given)}
        else:
            parameters = {key: value for key, value in given.items() if value is not NOT_GIVEN}
            policy |= {"rule": definition.rule, "parameters": parameters, "existenceCondition": existence}
        if wanted.template:
            settings, notes = settings_of(wanted.template, [each.entry for each in handlers])
            policy |= settings
            self._notes.setdefault(number, []).extend(notes)
        source = {
            "initiative": self._initiative,
            "member": member.reference,
            "id": definition.id or member.definition_id,
            "version": definition.version,
            "displayName": definition.display_name,
            "extension": ", ".join(f"{publisher}.{type_}".rstrip(".") for publisher, type_ in wanted.handlers),
        }
        policy["source"] = {key: value for key, value in source.items() if value}
        ids = [self._members[n].definition_id for n in (number, *(other for other, _ in piece.steps))]
        policy["azurePolicy"] = list(dict.fromkeys(each for each in ids if "/policydefinitions/" in each.lower()))
        return {key: value for key, value in policy.items() if value or key == "scope"}

    def _name(self, number: int) -> str:
        """The definition's display name where it is short and no other member has it; else the member's reference."""
        names = [slug(member.definition.display_name) if member.definition else "" for member in self._members]
        member = self._members[number]
        whole = member.definition is not None and not is_cut(member.definition.display_name)
        if names[number] and whole and names.count(names[number]) == 1:
            return names[number]
        return slug(_words(member.reference)) or names[number] or f"member-{number + 1}"

    def _result_of(self, number: int) -> MemberResult:
        member, wanted = self._members[number], self._wanted[number]
        becomes = tuple(self._becomes.get(number, ()))
        reason, fix = (wanted.reason, wanted.fix) if isinstance(wanted, NotTakenOver) else ("", "")
        if not becomes and not reason:
            step = "an identity" if isinstance(wanted, IdentityMember) else "an association"
            reason = f"{step} is a step beside an extension, and no member installs one on these VMs"
            key = "identity" if isinstance(wanted, IdentityMember) else "dataCollectionRules"
            fix = f"write {key}: into the policy of the agent"
        return MemberResult(
            member.reference,
            member.definition_id,
            member.definition.display_name if member.definition else "",
            "" if isinstance(wanted, NotTakenOver) else wanted.effect,
            becomes,
            reason,
            fix,
            () if reason else tuple(dict.fromkeys(self._notes.get(number, ()))),
        )


def _read(member: SetMember) -> Wanted:
    if member.definition is None:
        return NotTakenOver(member.problem, member.fix)
    try:
        return read_member(member.definition, member.values, member.names)
    except ConditionError as error:
        return NotTakenOver(f"it cannot be imported: {error.problem}", error.fix)
    except Undecided as error:
        return NotTakenOver(f"it cannot be imported: {error}", "give its parameters")


def _own_piece(wanted: ExtensionMember) -> _Piece:
    return _Piece(wanted.rule, reduced(wanted.rule, about_identity), rules=wanted.rules)


def _with_association(number: int, wanted: AssociationMember, piece: _Piece) -> Iterator[_Piece]:
    asks = beyond(piece.asks, wanted.asks)
    if asks is False:
        yield piece
        return
    rules = tuple(dict.fromkeys((*piece.rules, *wanted.rules)))
    steps = (*piece.steps, (number, "association"))
    whole = replace(piece, rules=rules, endpoint=wanted.endpoint or piece.endpoint, steps=steps)
    yield from _split(piece, whole, asks, "rule" if wanted.rules else "endpoint")


def _split(piece: _Piece, whole: _Piece, asks: Reduced, step: str) -> Iterator[_Piece]:
    """The policy with the step, where it asks for more than the extension's: restricted to that, and its twin."""
    if isinstance(asks, bool):
        yield whole
        return
    yield replace(
        whole,
        rule={"allOf": [whole.rule, *conjuncts(asks)]},
        asks=joined("allOf", [whole.asks, asks]),
        changed=True,
    )
    yield replace(
        piece,
        rule={"allOf": [piece.rule, negated(asks)]},
        asks=joined("allOf", [piece.asks, negated(asks)]),
        without=(*piece.without, step),
        changed=True,
    )


def _once_added(rule: Mapping[str, Any], lacks: Reduced) -> Mapping[str, Any]:
    """The rule as it decides once the identity is there: what it asks of identities holds for those that get one."""
    getting: Any = {"field": "type", "exists": True} if lacks is True else lacks

    def change(leaf: Mapping[str, Any], inverted: bool) -> Any:
        if not about_identity(leaf):
            return leaf
        return {"allOf": [leaf, {"not": getting}]} if inverted else {"anyOf": [leaf, getting]}

    changed: Mapping[str, Any] = replaced(rule, change)
    return changed


def _words(reference: str) -> str:
    """`deployAgentLinuxVM` as words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", reference)
