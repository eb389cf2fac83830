"""What one definition wants of a VM, in our terms: an extension, an identity, an association, or something that no
policy of ours does, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import replace
from typing import Any, Final

from msgspec import Struct

from onboarding.domain.json_access import mapping
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.policy.conditions import NOT_GIVEN, ConditionError, Resource, Undecided, compile_template
from onboarding.domain.policy.conditions.resource import EXTENSIONS
from onboarding.domain.policy.definitions.condition_logic import (
    VIRTUAL_MACHINE,
    Reduced,
    bound,
    field_of,
    holds,
    leaves,
    reduced,
    unbound_parameters,
)
from onboarding.domain.policy.definitions.definition import Definition, check_effect
from onboarding.domain.policy.definitions.definition_forms import used_parameters
from onboarding.domain.policy.definitions.deployment_template import (
    TemplateExtension,
    TemplateResource,
    read_template,
    setting_name,
    template_resources,
)

_IF_NOT_EXISTS: Final = ("deployifnotexists", "auditifnotexists")
_ASSOCIATIONS: Final = "datacollectionruleassociations"
_GUEST_ASSIGNMENTS: Final = "microsoft.guestconfiguration/guestconfigurationassignments"
_SAME: Final[Mapping[str, str]] = {}
_IDENTITY_SETTING: Final = "USER_ASSIGNED_IDENTITY_RESOURCE_ID"  # where no parameter holds the id
_ANOTHER: Final = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/another"
_KINDS_OF_MACHINE: Final = {
    "microsoft.compute/virtualmachinescalesets": "scale sets",
    "microsoft.hybridcompute/machines": "Arc machines",
    "microsoft.compute/virtualmachines/extensions": "extensions that are there already",
    "microsoft.connectedvmwarevsphere/virtualmachines": "VMware machines",
}


class NotTakenOver(Struct, frozen=True):
    """A member that becomes nothing of ours."""

    reason: str
    fix: str = ""
    """What a person may do about it; empty: nothing is missing."""


class ExtensionMember(Struct, frozen=True):
    """It wants an extension on VMs."""

    effect: str  # deployIfNotExists, auditIfNotExists or disabled
    rule: Mapping[str, Any]  # with the values of its parameters
    asks: Reduced  # what the rule asks of VMs
    template: TemplateExtension | None  # None if it deploys nothing
    handlers: tuple[tuple[str, str], ...]  # publisher and type, as its existence condition names them; empty type: any
    identity: bool  # whether its rule asks for an identity that is there already
    rules: tuple[str, ...] = ()  # data collection rules that its deployment associates, too: ids or app settings
    also: tuple[str, ...] = ()  # the types of other resources that its deployment writes


class IdentityMember(Struct, frozen=True):
    """It adds an identity to VMs."""

    effect: str
    asks: Reduced  # what the rule asks of VMs, apart from the identities that they have
    lacks: Reduced  # what it asks of those identities before it adds one
    add: str  # system, an id or an app setting
    beside_others: bool  # whether it adds one to a VM that has others
    sole: bool  # whether a VM with another identity alone is left as it is
    also: tuple[str, ...] = ()


class AssociationMember(Struct, frozen=True):
    """It associates VMs with a data collection rule or endpoint."""

    effect: str
    asks: Reduced
    rules: tuple[str, ...]  # ids or app settings
    endpoint: str  # the same; empty for none
    also: tuple[str, ...] = ()


type Wanted = ExtensionMember | IdentityMember | AssociationMember | NotTakenOver


def read_member(definition: Definition, values: Mapping[str, Any], names: Mapping[str, str] = _SAME) -> Wanted:
    """What the definition wants with these parameter values. `names` has the initiative's names of its parameters.
    Raises ConditionError for values that it does not take."""
    given = definition.resolve(values)
    folded = {name.lower(): other for name, other in names.items()}
    names = {name: folded[name.lower()] for name in given if name.lower() in folded}
    effect = effect_of(definition, given)
    check_effect(effect, "parameters.effect")
    rule = bound(definition.rule, given)
    asks = reduced(rule)
    if (why := _not_about_vms(rule, asks, given)) is not None:
        return why
    if effect.lower() == "modify":
        wanted = _modified(definition, given, rule)
    elif effect.lower() not in (*_IF_NOT_EXISTS, "disabled"):
        return NotTakenOver(f"its effect is {effect}: it installs nothing that could be missing on a VM")
    else:
        wanted = _wanted(definition, given, rule, effect, names)
    if isinstance(wanted, NotTakenOver):
        return wanted
    missing = unbound_parameters([rule, bound(definition.details.get("existenceCondition"), given)])
    if isinstance(wanted, (IdentityMember, AssociationMember)):
        missing = unbound_parameters(rule)  # their existence condition is read, not kept
    if missing:
        named = [names.get(name, name) for name in missing]
        return NotTakenOver(f"its conditions need a value of {', '.join(named)}", f"give --parameter {named[0]}=VALUE")
    return wanted


def effect_of(definition: Definition, given: Mapping[str, Any]) -> str:
    """The effect with these values. Raises ConditionError where no value decides it."""
    effect = compile_template(definition.effect, given, "effect")
    try:
        value = str(effect.of(Resource({})))
        if not effect.value.constant:
            raise Undecided(f"{definition.effect} differs from machine to machine")
    except Undecided as reason:
        raise ConditionError("effect", str(reason), _way_out(definition)) from reason
    return value


def _way_out(definition: Definition) -> str:
    """How to give a value for the parameter that decides the effect."""
    name = next(iter(used_parameters(definition.effect)), "")
    if not name:
        return "write a policy for each of the effects"
    parameter = next((each for key, each in definition.parameters.items() if key.lower() == name.lower()), None)
    allowed = parameter.allowed if parameter else ()
    return f'give --parameters \'{{"{name}": "{allowed[0] if allowed else "DeployIfNotExists"}"}}\''


def _not_about_vms(rule: Any, asks: Reduced, given: Mapping[str, Any]) -> NotTakenOver | None:
    """Why a rule never matches a VM; None if it may."""
    if asks is not False:
        return None
    others = [
        _KINDS_OF_MACHINE.get(each.lower(), each) for each in _types_in(rule) if each.lower() != VIRTUAL_MACHINE.lower()
    ]
    if others:
        return NotTakenOver(f"it is about {' and '.join(dict.fromkeys(others))}, and policies select VMs only")
    switches = [name for name, value in given.items() if value is False or value == []]
    why = f" (parameters that decide: {', '.join(switches)})" if switches else ""
    return NotTakenOver(f"with these parameters its rule matches no VM{why}")


def _types_in(rule: Any) -> list[str]:
    """The types that a rule names, as they are first written."""
    found: dict[str, str] = {}
    for leaf in leaves(rule):
        if field_of(leaf) == "type":
            for value in leaf.values():
                for each in map(str, value if isinstance(value, list) else [value]):
                    if each.lower() != "type":
                        found.setdefault(each.lower(), each)
    return list(found.values())


def _wanted(
    definition: Definition, given: Mapping[str, Any], rule: Any, effect: str, names: Mapping[str, str]
) -> Wanted:
    details = definition.details
    related = str(_plain(details.get("type"), given))
    template_given = _with_settings(definition, given, names)
    folded = related.lower()
    if folded == EXTENSIONS.lower():
        return _extension(definition, template_given, rule, effect)
    if folded.endswith(f"/{_ASSOCIATIONS}"):
        return _association(details, template_given, rule, effect)
    if folded == VIRTUAL_MACHINE.lower():
        return _identity(definition, template_given, rule, effect)
    if folded == _GUEST_ASSIGNMENTS:
        return NotTakenOver("it is about a setting inside the machine (a guest configuration assignment), no extension")
    if folded.endswith("/extensions"):
        kind = next((word for type_, word in _KINDS_OF_MACHINE.items() if folded.startswith(type_)), related)
        return NotTakenOver(f"it is about extensions of {kind}, and policies select VMs only")
    if not related:
        if effect.lower() == "disabled":
            return NotTakenOver("its effect is disabled, and it names nothing that could be missing on a VM")
        return NotTakenOver("it does not say what it wants on a VM")
    verb = "deploys" if effect.lower() == "deployifnotexists" else "looks for"
    return NotTakenOver(f"it {verb} {related}, which is no extension, identity or association of a VM")


def _with_settings(definition: Definition, given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The values for a template: `{NAME}` of an app setting in the place of a text, above all an id, that was not
    given."""
    values = {}
    for name, value in given.items():
        parameter = definition.parameters.get(name)
        is_text = parameter is None or parameter.type in ("", "string")
        is_id = is_text and name.lower().endswith("resourceid") and value == ""
        values[name] = (
            f"{{{setting_name(names.get(name, name))}}}" if is_text and (value is NOT_GIVEN or is_id) else value
        )
    return values


def _extension(definition: Definition, given: Mapping[str, Any], rule: Any, effect: str) -> Wanted:
    template = read_template(definition.details, given, settings_for_open=True)
    named = tuple(_handlers(bound(definition.details.get("existenceCondition"), given)))
    if template is not None and "FILL-IN" in (template.publisher, template.type):
        template = replace(template, publisher="", type="")
    if (template is None or not template.publisher) and not named:
        return NotTakenOver("it does not say which extension it is about")
    handlers = named
    if template is not None and template.publisher and template.type:
        handlers = ((template.publisher, template.type),)
    asks_identity = any(map(about_identity, leaves(rule)))
    rules, _ = _associated(definition.details, given)
    known = tuple(each for each in rules if _is_reference(each))
    also = _also(definition.details, given, EXTENSIONS, *([] if len(known) < len(rules) else [_ASSOCIATIONS]))
    return ExtensionMember(effect, rule, reduced(rule), template, handlers, asks_identity, known, also)


def _also(details: Mapping[str, Any], given: Mapping[str, Any], *own: str) -> tuple[str, ...]:
    """The types of what a deployment writes besides a member's own resource."""
    types = [str(each.body.get("type", "")) for each in template_resources(details, given)]
    ignored = ("microsoft.resources/deployments", *(each.lower() for each in own))
    return tuple(dict.fromkeys(each for each in types if each and not each.lower().endswith(ignored)))


def _handlers(existence: Any) -> Iterator[tuple[str, str]]:
    """The publishers and types that an existence condition asks for together; an empty type where it names publishers
    alone."""
    pairs = [
        (publisher, type_)
        for publishers, types in _alternatives(existence)
        for publisher in publishers
        for type_ in types or ("",)
    ]
    yield from dict.fromkeys(pairs)


def _alternatives(condition: Any) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The publishers and the types of each way to meet a condition."""
    parts = condition if isinstance(condition, Mapping) else {}
    word = next((str(key).lower() for key in parts), "")
    if word == "anyof":
        found = [each for part in next(iter(parts.values())) for each in _alternatives(part)]
        return list(dict.fromkeys(found))
    if word == "allof":
        ways: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), ())]
        for part in next(iter(parts.values())):
            ways = [
                (before[0] + each[0], before[1] + each[1])
                for before in ways
                for each in _alternatives(part) or [((), ())]
            ]
            ways = list(dict.fromkeys(ways))
        return ways
    leaf = {str(key).lower(): value for key, value in parts.items()}
    value = leaf.get("equals", leaf.get("in"))
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    named = tuple(each for each in texts if isinstance(each, str) and not each.startswith("["))
    match field_of(parts).removeprefix(f"{EXTENSIONS.lower()}/"):
        case "publisher":
            return [(named, ())]
        case "type":
            return [((), named)]
    return [((), ())]


def _association(details: Mapping[str, Any], given: Mapping[str, Any], rule: Any, effect: str) -> Wanted:
    rules, endpoints = _associated(details, given)
    if not rules and not endpoints:
        return NotTakenOver("it only looks for an association, and names no rule to associate")
    computed_elsewhere = [each for each in (*rules, *endpoints) if not _is_reference(each)]
    if computed_elsewhere:
        return NotTakenOver(
            "the id of its data collection rule is another one in each region and subscription, and a policy names one",
            "write a policy for each rule, with dataCollectionRules: and scope:",
        )
    endpoint = next(iter(endpoints), "")
    return AssociationMember(effect, reduced(rule), tuple(rules), endpoint, _also(details, given, _ASSOCIATIONS))


def _associated(details: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The rules and the endpoints that a deployment associates a VM with."""
    rules: list[str] = []
    endpoints: list[str] = []
    for resource in template_resources(details, given):
        if resource.type.endswith(_ASSOCIATIONS):
            properties = mapping(resource.body.get("properties"))
            for key, found in (("dataCollectionRuleId", rules), ("dataCollectionEndpointId", endpoints)):
                if key in properties:
                    found.append(str(resource.value(properties[key])))
    return list(dict.fromkeys(rules)), list(dict.fromkeys(endpoints))


def _is_reference(text: str) -> bool:
    whole = text.startswith("{") and text.endswith("}") and text.count("{") == 1
    return whole or (text.startswith("/subscriptions/") and "{" not in text)


def _identity(definition: Definition, given: Mapping[str, Any], rule: Any, effect: str) -> Wanted:
    written = next((each for each in template_resources(definition.details, given) if _writes_identity(each)), None)
    if written is None:
        return NotTakenOver("it looks at the machine itself, and adds no identity to it")
    identity = mapping(written.body["identity"])
    existence = bound(definition.details.get("existenceCondition"), given)
    if "userAssignedIdentities" not in identity:
        return _identity_member(effect, rule, SYSTEM)
    other = {"type": "UserAssigned", "userAssignedIdentities": {_ANOTHER: {}}}
    sole = existence is not None and holds(reduced(existence), _with_identity(other)) is True
    also = _also(definition.details, given, VIRTUAL_MACHINE)
    return IdentityMember(effect, _apart(rule), True, _wanted_id(definition, existence, given), True, sole, also)


def about_identity(leaf: Mapping[str, Any]) -> bool:
    """Whether a condition asks which identities the machine has."""
    return field_of(leaf).startswith("identity.")


def _writes_identity(resource: TemplateResource) -> bool:
    return resource.type == VIRTUAL_MACHINE.lower() and isinstance(resource.body.get("identity"), Mapping)


def _wanted_id(definition: Definition, existence: Any, given: Mapping[str, Any]) -> str:
    """The id of the identity that must be there; the app setting that holds it where it is not the same for all."""
    given_id = next((value for name, value in given.items() if _names_identity(name) and _is_reference(str(value))), "")
    if str(given_id).startswith("/subscriptions/"):
        return str(given_id)
    for leaf in leaves(existence):
        for value in leaf.values():
            if isinstance(value, str) and value.startswith("/subscriptions/") and "{" not in value:
                return value
    return str(given_id) or f"{{{_IDENTITY_SETTING}}}"


def _names_identity(name: str) -> bool:
    return "identity" in name.lower() and name.lower().endswith("resourceid")


def _modified(definition: Definition, given: Mapping[str, Any], rule: Any) -> Wanted:
    operations = definition.details.get("operations")
    fields = {
        str(mapping(each).get("field", "")): bound(mapping(each).get("value"), given)
        for each in (operations if isinstance(operations, list) else [])
    }
    if (
        set(map(str.lower, fields)) == {"identity.type"}
        and "systemassigned" in str(next(iter(fields.values()))).lower()
    ):
        return _identity_member("deployIfNotExists", rule, SYSTEM)
    user = next((value for name, value in fields.items() if name.lower() == "identity.userassignedidentities"), None)
    if user is not None:
        ids = [str(each) for each in mapping(user) if _is_reference(str(each))]
        return _identity_member("deployIfNotExists", rule, ids[0] if ids else f"{{{_IDENTITY_SETTING}}}")
    named = ", ".join(fields) or "nothing"
    return NotTakenOver(f"it changes {named} of the machine, and a policy changes no more than its identities")


def _identity_member(effect: str, rule: Any, add: str) -> IdentityMember:
    lacks = reduced(rule, lambda leaf: not about_identity(leaf))
    user = _with_identity({"type": "UserAssigned", "userAssignedIdentities": {_ANOTHER: {}}})
    return IdentityMember(effect, _apart(rule), lacks, add, holds(lacks, user) is True, sole=False)


def _apart(rule: Any) -> Reduced:
    """What a rule asks of a machine apart from its identities."""
    return reduced(rule, about_identity)


def _with_identity(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "id": f"/subscriptions/s/resourceGroups/g/providers/{VIRTUAL_MACHINE}/m",
        "type": VIRTUAL_MACHINE,
        "location": "westeurope",
        "identity": identity,
    }


def _plain(source: Any, given: Mapping[str, Any]) -> Any:
    value = bound(source, given)
    return "" if value is None else value
