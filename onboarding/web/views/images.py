"""The images of machines whose system nobody knows, each with the line that would say it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Struct, field

from onboarding.application.row_queries import RowQuery, found_rows
from onboarding.domain.json_access import stamp
from onboarding.domain.reconcile.row import Outcome, Row, Selection
from onboarding.web.site import BadQuery, Data, Site
from onboarding.web.views.row_record import image_of

_ENOUGH = 40  # rows of one answer
_MOST_NAMES = 3  # machines that are named of an image


class _Image(Struct):
    """The machines of one image."""

    name: str
    rows: list[Row] = field(default_factory=list)


async def data(site: Site) -> Data:
    selection = Selection(outcomes=(Outcome.UNDETERMINED,))
    try:
        found = await found_rows(site.reader, RowQuery(selection=selection), site.query.one("at"), _ENOUGH)
    except ValueError:
        raise BadQuery("the place in the list is not one of this list; begin at its start") from None
    images: dict[str, _Image] = {}
    without: list[Row] = []
    for row in found.rows:
        name = image_of(row)
        if name:
            images.setdefault(name.lower(), _Image(name)).rows.append(row)
        else:
            without.append(row)
    listed = sorted(images.values(), key=lambda image: -len(image.rows))
    return {
        "images": [_record(image.name, image.rows) for image in listed],
        "withoutImage": _record("", without) if without else None,
        "following": found.following,
    }


def _record(name: str, rows: Sequence[Row]) -> Data:
    named = {row.resource_id: row.vm_name for row in rows}
    return {
        "image": name,
        "rows": len(rows),
        "machines": [{"id": vm, "name": name} for vm, name in list(named.items())[:_MOST_NAMES]],
        "reason": rows[0].reason,
        "since": stamp(rows[0].finished_at),
        "line": override_line(name) if name else "",
    }


def override_line(image: str) -> str:
    """The line for the override file; a person writes what the image runs."""
    return f'  - {{match: {json.dumps(image)}, distribution: DISTRIBUTION, version: "VERSION"}}'
