"""The former format of catalogue entries: `osType`, and one line for each setting. It is brought to the present one."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from onboarding.domain.typed_file import FileMapping, read_as


class FormerSetting(FileMapping, frozen=True, kw_only=True):
    what: ClassVar[str] = "a setting"
    type: Literal["string", "boolean"] = "string"
    format: Literal["guid", "base64"] | None = None
    required: bool = False
    destination: bool = False
    secret: bool | None = None

    def renewed(self) -> dict[str, Any]:
        kept = {"format": self.format, "destination": self.destination}
        text = {"minLength": 1} if self.type == "string" and not self.format else {}
        secret = {} if self.secret is None else {"secret": self.secret}
        return {"type": self.type, **text, **{key: value for key, value in kept.items() if value}, **secret}


class FormerKeys(FileMapping, frozen=True, kw_only=True):
    """The keys of the former format that mean something else in this one."""

    what: ClassVar[str] = "the catalogue entry"
    os_type: Annotated[
        Literal["Linux", "Windows"],
        Meta(extra={"is": "an operating system", "one": "operating system", "fix": "write Linux or Windows"}),
    ]
    settings: dict[str, FormerSetting | None] = field(default_factory=dict)
    protected_settings: dict[str, FormerSetting | None] = field(default_factory=dict)


def renewed(raw: Mapping[Any, Any], place: str) -> dict[Any, Any]:
    changed = ("osType", "settings", "protectedSettings")
    former = read_as({key: raw[key] for key in changed if key in raw}, FormerKeys, place)
    groups = {"settings": former.settings, "protectedSettings": former.protected_settings}
    return {
        **{key: value for key, value in raw.items() if key not in changed},
        "os": former.os_type.lower(),
        **{key: _object(settings) for key, settings in groups.items() if settings},
    }


def _object(settings: Mapping[str, FormerSetting | None]) -> dict[str, Any]:
    given = {name: setting or FormerSetting() for name, setting in settings.items()}
    required = [name for name, setting in given.items() if setting.required]
    properties = {name: setting.renewed() for name, setting in given.items()}
    return {"type": "object", **({"required": required} if required else {}), "properties": properties}
