"""Converts VMs, images and lists of them from the forms that people's tools print to ARM's own. No other module knows
those forms.

| tool | form |
|---|---|
| ARM, `az rest`, a Resource Graph row | `{id, name, properties: {…}}` |
| `az vm list`, `az vm show` | what is under `properties` stands one level up |
| `Get-AzVM`, `ConvertTo-Json` | the same, the names as .NET writes them and some words as numbers |
| Python's SDK | the same, the names with underscores |

A list may be a JSON array, or an object around one: ARM's `value`, Resource Graph's `data` (rows, or a table of columns
and rows), PowerShell's `value` and `Count`, the `Content` of `Invoke-AzRestMethod`.

An object that was cut (`ConvertTo-Json` writes the names of types below its depth) is refused: otherwise it would be
read as a VM without an image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from onboarding.domain.errors import OnboardingError, as_written, error_text
from onboarding.domain.masking import mask
from onboarding.domain.resource_id import VmId, parse_id

_TOP: Final = frozenset(
    [
        "id",
        "name",
        "type",
        "location",
        "tags",
        "plan",
        "zones",
        "identity",
        "managedBy",
        "resources",
        "extendedLocation",
    ]
)
_OWN_TYPE: Final = (
    "typePropertiesType",
    "virtualMachineExtensionType",
    "extensionType",
    "type1",
)  # by az or Az version
_VM_TYPE: Final = "microsoft.compute/virtualmachines"
_MARKS: Final = frozenset(["storageProfile", "vmId", "hardwareProfile", "osProfile", "networkProfile"])
_OBJECTS: Final = frozenset(
    [
        "properties",
        "tags",
        "plan",
        "identity",
        "storageProfile",
        "imageReference",
        "osDisk",
        "hardwareProfile",
        "osProfile",
        "linuxConfiguration",
        "windowsConfiguration",
        "networkProfile",
        "instanceView",
        "virtualMachineScaleSet",
    ]
)
_KEPT: Final = frozenset(["tags", "userAssignedIdentities"])  # the names in them are people's
_WHOLE: Final = frozenset(["settings", "protectedSettings", "publicSettings"])
_SPELLED: Final = {  # ARM's names that follow neither from .NET's names nor from those with underscores
    "skus": "sku",
    "publishername": "publisher",
    "provisionvmagent": "provisionVMAgent",
    "resourceid": "resourceId",
}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {  # .NET's numbers for words
    "osType": ("Windows", "Linux"),
    "level": ("Info", "Warning", "Error"),
    "caching": ("None", "ReadOnly", "ReadWrite"),
}
_IDENTITIES: Final = ("SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None")
_CAPITALS: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]*")


class Unrecognised(OnboardingError):
    """An item that is not a VM, or that lacks too much: what it is instead, and what to give."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(error_text("", problem, fix))
        self.problem = mask(problem)
        self.fix = fix


_FIX: Final = "give what `az vm list -o json`, Resource Graph or a GET of the VM answers"
_DEEPER: Final = "print it again with `ConvertTo-Json -Depth 100`"


def listed(value: object) -> Iterator[object]:
    """The items of a list and of lists in it, without their wrappers; a value that is not a list is one item."""
    open_ = [value]
    while open_:
        found = open_.pop()
        inner = _items_in(found)
        if inner is None:
            yield found
        else:
            open_ += reversed(inner)


def missing_pages(value: object) -> str:
    """What a list says about items that it does not contain; empty if it says nothing about them."""
    if not isinstance(value, Mapping) or _items_in(value) is None:
        return ""
    folded = {_fold(key): item for key, item in value.items()}
    here, all_ = folded.get("count"), folded.get("totalrecords")
    if isinstance(here, int) and isinstance(all_, int) and here < all_:
        return f"holds {here} of {all_} records; ask for the rest with --skip-token, or for more with --first"
    if any(isinstance(folded.get(key), str) and folded[key] for key in ("nextlink", "skiptoken")):
        return "is one page of a list that goes on; ask for the other pages too"
    return ""


def read_vm(item: object) -> Mapping[str, Any]:
    """The VM in ARM's form. Raises `Unrecognised` for a value that is not a VM, has no name, or has only a name."""
    if not isinstance(item, Mapping):
        raise Unrecognised(f"a {_json_kind(item)} is not a VM", _FIX)
    body = arm_form(item)
    if isinstance(error := body.get("error"), Mapping):
        words = f"{error.get('code', '')}: {error.get('message', '')}"[:200]
        raise Unrecognised(f"the item is not a VM but an error of ARM: {words}", "explain it with `onboard diagnose`")
    if "$schema" in body:
        raise Unrecognised("the item is not a VM but a template", _FIX)
    if not isinstance(body.get("properties"), Mapping):
        known = ", ".join(map(str, list(item)[:8])) or "none"
        raise Unrecognised(f"the item is not a VM: it has no properties of a VM, but the keys {known}", _FIX)
    if not any(isinstance(body.get(key), str) and body[key] for key in ("id", "name")):
        raise Unrecognised("the VM has neither id nor name", _FIX)
    return body


def read_id(item: object) -> str:
    """The id or name of a VM in any form; an object that holds nothing but its id is enough. Raises `Unrecognised`."""
    if isinstance(item, str):
        return item
    if isinstance(item, Mapping):
        found = _spelled(item)
        given = found.get("id") or found.get("resourceId")
        if isinstance(given, str) and isinstance(parse_id(given), VmId):
            return given
    return str(read_vm(item).get("id") or "")


def other_type(body: Mapping[str, Any]) -> str:
    """The resource type of a body that is not a VM, by its `type` or else by its id; empty for a VM or if unknown."""
    given = body.get("type")
    if not isinstance(given, str) or not given:
        _, _, path = str(body.get("id") or "").rpartition("/providers/")
        namespace, *types_and_names = path.split("/")
        given = "/".join([namespace, *types_and_names[::2]]) if len(types_and_names) > 1 else ""
    return "" if given.lower() in ("", _VM_TYPE) else given


def arm_form(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as a GET returns it; of other resources, with the names as ARM writes them.

    Raises `Unrecognised` for an object that was cut."""
    if isinstance(item.get("body"), Mapping) and "properties" not in item:
        item = item["body"]
    if _is_arms(item):
        _refuse_cut(item)
        return item
    body = _spelled(item)
    _refuse_cut(body)
    if not body.get("id") and isinstance(body.get("resourceId"), str):
        body["id"] = body["resourceId"]
    if not isinstance(body.get("properties"), Mapping) and _MARKS & set(body):
        return _with_properties(body)
    return body


def _refuse_cut(item: Mapping[str, Any]) -> None:
    """Raises `Unrecognised` if an object that holds the image or the OS, or that rules read most, was cut."""
    open_ = [item] if _MARKS & set(item) or "properties" in item or "imageReference" in item else []
    while open_:
        for key, value in open_.pop().items():
            if key not in _OBJECTS:
                continue
            if isinstance(value, Mapping) and key not in _KEPT:
                open_.append(value)
            elif isinstance(value, str) and value.lstrip().startswith("{"):
                raise Unrecognised(f"{key} holds JSON as a text: {as_written(value, 60)}", "give the object itself")
            elif isinstance(value, str) and value:
                raise Unrecognised(f"{key} was cut to the text {as_written(value, 60)}", _DEEPER)


def _is_arms(item: Mapping[str, Any]) -> bool:
    properties = item.get("properties")
    return isinstance(properties, Mapping) and not any(map(_is_odd, (*item, *properties)))


def _is_odd(key: object) -> bool:
    return isinstance(key, str) and (key[:1].isupper() or "_" in key)


def _with_properties(body: dict[str, Any]) -> dict[str, Any]:
    extensions = body.pop(
        "extensions", None
    )  # `Get-AzVM` names them so, and leaves the list empty where it did not read them
    if extensions and not body.get("resources"):
        body["resources"] = extensions
    shaped = _properties_lowered(body)
    if isinstance(resources := body.get("resources"), list):
        shaped["resources"] = [_extension(item) if isinstance(item, Mapping) else item for item in resources]
    return shaped


def _extension(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if "properties" in item:
        return item
    shaped = _properties_lowered(item)
    own = next((item[key] for key in _OWN_TYPE if item.get(key) is not None), None)
    if own is not None:
        shaped["properties"]["type"] = own
    return shaped


def _properties_lowered(item: Mapping[str, Any]) -> dict[str, Any]:
    top = {key: value for key, value in item.items() if key in _TOP}
    return {**top, "properties": {key: value for key, value in item.items() if key not in _TOP}}


def _spelled(item: Mapping[str, Any]) -> dict[str, Any]:
    """The object with ARM's names, and with words where .NET wrote numbers."""
    found: dict[str, Any] = {}
    for key, value in item.items():
        name = _name(key)
        found.setdefault(name, _value(name, value))
    if isinstance(identity := found.get("identity"), dict):
        identity["type"] = _word(_IDENTITIES, identity.get("type"))
    return found


def _value(name: str, value: Any) -> Any:
    if name in _WHOLE:
        return value
    if isinstance(value, Mapping):
        if name in _KEPT:
            return {k: _spelled(v) if isinstance(v, Mapping) else v for k, v in value.items()}
        return _spelled(value)
    if isinstance(value, list):
        return [_spelled(each) if isinstance(each, Mapping) else each for each in value]
    return _word(_WORDS[name], value) if name in _WORDS else value


def _word(words: tuple[str, ...], value: Any) -> Any:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(words)
    return words[value] if known else value


def _name(key: object) -> str:
    """ARM's spelling of a name: `VMAgent` and `vm_agent` are `vmAgent`."""
    name = str(key)
    if not _is_odd(name):
        return _SPELLED.get(name.lower(), name)
    first, *rest = name.split("_")
    joined = first + "".join(part[:1].upper() + part[1:] for part in rest)
    camel = _CAPITALS.sub(lambda found: found[0].lower(), joined, count=1)
    return _SPELLED.get(camel.lower(), camel)


def _items_in(value: object) -> list[object] | None:
    """The items in a list or in its wrapper; None for an item."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping) or "properties" in value:
        return None
    folded = {_fold(key): item for key, item in value.items()}
    if isinstance(folded.get("content"), str) and "statuscode" in folded:
        return _content(folded["content"])
    for key in ("value", "data"):
        inner = folded.get(key)
        if isinstance(inner, list):
            return inner
        if isinstance(inner, Mapping):
            columns, rows = inner.get("columns"), inner.get("rows")
            if isinstance(columns, list) and isinstance(rows, list):
                return _rows(columns, rows)
            if "count" in folded:
                return [inner]
    return None


def _content(text: str) -> list[object] | None:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        return None


def _rows(columns: list[Any], rows: list[Any]) -> list[object]:
    names = [column.get("name") if isinstance(column, Mapping) else column for column in columns]
    return [dict(zip(map(str, names), row, strict=False)) if isinstance(row, list) else row for row in rows]


def _fold(key: object) -> str:
    return str(key).replace("_", "").replace("$", "").lower()


def _json_kind(value: object) -> str:
    names = {str: "text", list: "list", dict: "object", bool: "truth value", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
