"""Which public settings of an entry should not be public: names that secrets have, and values that count as secret.

ARM shows public settings to everybody who can read the machine; protected settings it never shows. A name proves
little, so this gives warnings, and `secret: false` in the schema says that there is no secret in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.errors import ConfigurationError, as_written

_NAME = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|credential|connection[_-]?string|(?:^|[_-])key"
    r"|(?:api|access|account|shared|private|licen[cs]e|auth|customer|registration|workspace|storage)[_-]?key)s?\Z",
    re.IGNORECASE,
)


def names_secret(name: str) -> bool:
    """Whether a setting of that name is likely to hold a secret: the end of the name counts, as in `clientSecret`."""
    return _NAME.search(name) is not None


def exposed_secrets(schema: SettingSchema, place: str = "settings") -> Iterator[ConfigurationError]:
    """A warning for each public setting that is secret, or that has the name of a secret; its place is that of the
    schema."""
    for name, each in (schema.properties or {}).items():
        where = f"{place}.properties.{name}"
        if each.kind not in ("", "string"):
            yield from exposed_secrets(each, where)
        elif each.secret:
            problem = (
                f"the setting {as_written(name)} is secret, and ARM shows public settings to everybody who reads a VM"
            )
            yield ConfigurationError(where, problem, "move it to protectedSettings if the extension reads it there")
        elif each.secret is None and names_secret(name):
            problem = f"the setting {as_written(name)} has the name of a secret, and ARM shows public settings"
            fix = "move it to protectedSettings if the extension reads it there, or write `secret: false`"
            yield ConfigurationError(where, problem, fix)
    if schema.items is not None:
        yield from exposed_secrets(schema.items, f"{place}.items")
