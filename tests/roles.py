"""The roles of the app on machines: the custom one of docs/deploying.md, and the optional ones of infra/."""

from __future__ import annotations

import json
import re

from simulator.arm import Role, read_role
from simulator.laptop import ROOT

INSTALLER = read_role(
    json.loads(
        re.findall(r"```json\n(\{.*?\})\n```", (ROOT / "docs" / "deploying.md").read_text("utf-8"), re.DOTALL)[0]
    )
)


def _of_template(name: str, file: str = "subscription.bicep") -> Role:
    text = (ROOT / "infra" / file).read_text("utf-8")
    declaration = text.partition(f"resource {name} ")[2].partition("\n}\n")[0]
    actions = re.findall(r"'(Microsoft\.\w+/[\w/]+)'", declaration.partition("actions:")[2])
    return Role(tuple(actions))


HEARTBEATS = _of_template("role", "modules/heartbeats.bicep")
ASSOCIATIONS, IDENTITIES = map(_of_template, ("associationRole", "identityRole"))
