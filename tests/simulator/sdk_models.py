"""Bodies against the typed models of Azure's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def unknown_keys(model: Any) -> Iterator[str]:
    """Keys of a body that its typed model, or a model inside it, does not know."""
    if isinstance(model, list):
        for item in model:
            yield from unknown_keys(item)
    fields = getattr(model, "_attr_to_rest_field", None)
    if fields is None:
        return
    known = {field._rest_name for field in fields.values()}
    yield from (f"{type(model).__name__}.{key}" for key in model if key not in known)
    for attribute in fields:
        yield from unknown_keys(getattr(model, attribute))
