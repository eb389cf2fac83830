"""Exemptions: scopes that a policy does not select, until a day or for good, with the reason that the table shows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.policy.scope import Scope
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import FileMapping, Text


class Category(StrEnum):
    """Why a scope is exempt, in Azure Policy's words."""

    WAIVER = "Waiver"
    MITIGATED = "Mitigated"


class Moment(datetime):
    """A day, at its beginning, or a moment; UTC unless it has another zone."""

    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d"}

    @classmethod
    def from_file(cls, value: object) -> Self:
        try:
            moment = cls.fromisoformat(str(value))
        except ValueError:
            problem = f"{as_written(value)} is not a date"
            raise ConfigurationError("", problem, "write a date (UTC) such as 2027-01-01") from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Exemption(FileMapping, frozen=True):
    """A scope that a policy does not select."""

    what: ClassVar[str] = "an exemption"

    scope: Annotated[Scope, Meta(description="What is exempt.", extra={"is": "a scope"})]
    category: Annotated[
        Category,
        Meta(
            description="Waiver: accepted for now; Mitigated: solved in another way.",
            extra={"one": "category", "many": "categories"},
        ),
    ] = Category.WAIVER
    expires_on: Annotated[Moment | None, Meta(description="The day on which it ends (UTC); never without one.")] = None
    reason: Annotated[Text | None, Meta(description="Why, for people.")] = None

    def holds(self, vm: VmId, now: datetime) -> bool:
        return self.scope.contains(vm) and not self._over(now)

    def has_ended(self, vm: VmId, now: datetime) -> bool:
        return self.scope.contains(vm) and self._over(now)

    def _over(self, now: datetime) -> bool:
        return self.expires_on is not None and self.expires_on <= now

    def __str__(self) -> str:
        until = f" until {self.expires_on:%Y-%m-%d}" if self.expires_on else ""
        return f"{self.category}{until}: {'no reason given' if self.reason is None else self.reason}"
