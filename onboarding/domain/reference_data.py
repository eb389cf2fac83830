"""What is known before any machine is read, and comes as data: how images, systems, failures, handlers and managed
machines are named.

The domain reads no file: whoever starts it passes this value in.
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
    """Each part is a call that gives the same value every time, and makes it the first time: a process that meets no
    failure or no Windows must not wait for what it would need to read them."""

    grammar: Callable[[], Grammar]
    windows: Callable[[], WindowsReleases]
    errors: Callable[[], SharedErrors]
    handlers: Callable[[], HandlerNames]
    managed: Callable[[], ManagedKinds]
