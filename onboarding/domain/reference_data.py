"""The shipped data that the domain needs: names of images, Windows releases, failures, handlers and managed machines.

The domain reads no file: the caller loads this value and passes it in.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from onboarding.domain.failures.error_table import SharedErrors
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.image.image_grammar import Grammar
from onboarding.domain.image.windows_releases import WindowsReleases
from onboarding.domain.machine.managed_machines import ManagedKinds


class ReferenceData(Struct, frozen=True):
    """Each field is a function that loads its value at the first call and returns the same value afterwards, so a
    process loads only what it uses."""

    grammar: Callable[[], Grammar]  # how image names are read
    windows: Callable[[], WindowsReleases]
    errors: Callable[[], SharedErrors]  # ARM's errors and the causes
    handlers: Callable[[], HandlerNames]
    managed: Callable[[], ManagedKinds]
