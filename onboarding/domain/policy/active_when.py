"""When a policy is active: which app settings must be set, and which must not be.

So several policies can ship together, and the settings of a deployment choose among them. Only whether a setting has a
value counts, never the value.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.typed_file import FileMapping, OneOrMany, Refused

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SettingName(str):
    """The name of an app setting."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": f"^{_NAME.pattern}$"}

    @classmethod
    def from_file(cls, value: object) -> Self:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            problem = f"{as_written(value)} is not the name of an app setting"
            raise ConfigurationError("", problem, "write a name such as DATA_COLLECTION_RULE_ID, without braces")
        return cls(value)


class SettingNames(OneOrMany[SettingName], item=SettingName):
    """One such name or a list of them."""

    __slots__ = ()


class ActiveWhen(FileMapping, frozen=True):
    """A condition on app settings. Without names it always holds."""

    what: ClassVar[str] = "activeWhen"

    settings: Annotated[SettingNames | None, Meta(description="The app settings that must all be set.")] = None
    unless: Annotated[SettingNames | None, Meta(description="The app settings of which none may be set.")] = None

    def __post_init__(self) -> None:
        if not self.settings and not self.unless:
            raise Refused("", "it names no app setting", "name some in settings or unless, or remove activeWhen")
        for name in self.unless or ():
            if name in (self.settings or ()):
                problem = f"the app setting {name} must be set and must not be set"
                raise Refused("unless", problem, "name it in settings or in unless")

    def unmet(self, app_settings: Mapping[str, str]) -> str:
        """Why the condition does not hold, naming settings and no value; empty if it holds."""
        missing = [name for name in self.settings or () if not _is_set(name, app_settings)]
        if missing:
            return f"{_named(missing)} not set"
        return (
            "" if not (given := [n for n in self.unless or () if _is_set(n, app_settings)]) else f"{_named(given)} set"
        )


def _is_set(name: str, app_settings: Mapping[str, str]) -> bool:
    return bool((app_settings.get(name) or "").strip())


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    return f"app setting {listed[0]} is" if len(listed) == 1 else f"app settings {' and '.join(listed)} are"
