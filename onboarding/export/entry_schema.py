"""The JSON Schema of a catalogue entry's file, for editors, made from the types that the files are read into.

It helps while a person writes. `onboard policy validate` checks more, such as the support tables, and decides.
"""

from __future__ import annotations

from typing import Any

from onboarding.domain.catalog.entry_file import EntryFile
from onboarding.domain.typed_file import json_schema


def entry_schema() -> dict[str, Any]:
    return {
        **json_schema(EntryFile),
        "title": "Catalogue entry of vm-onboarding",
    }
