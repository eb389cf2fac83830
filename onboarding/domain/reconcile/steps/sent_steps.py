"""The steps whose requests ARM carries out after it has accepted them. Such a request is claimed before it is sent, and
a machine has one of them in flight at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from onboarding.domain.catalog.extension_settings import ExtensionSettings
from onboarding.domain.reconcile.decision import Act, DecisionContext
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.reconcile.steps import extension_request, identity_decision, removal_step
from onboarding.domain.reconcile.steps.step import ArmRequest, StepKind
from onboarding.domain.resource_id import VmId


class SentStep(Protocol):
    """The module of such a step."""

    ACCEPTED: WaitingFor
    """What the row waits for once ARM has accepted the request."""
    CHANGES_EXTENSION: bool
    """Whether the request changes an extension: the rollout limit counts these."""

    def arm_request(self, s: DecisionContext, act: Act, vm: VmId, settings: ExtensionSettings, tag: str) -> ArmRequest:
        """The request. That of an extension holds secrets in clear text, so it is only sent."""

    def claim_digest(self, s: DecisionContext, act: Act, tag: str) -> str:
        """A digest of what is sent, without secrets: another one is another attempt."""

    def claim_columns(self, s: DecisionContext, act: Act) -> Mapping[str, Any]:
        """What the row that claims the request says of it."""

    def breaker_key(self, s: DecisionContext) -> tuple[str, str]:
        """By what a circuit breaker for the request is found: the extension or the operation, and the digest of what is
        sent."""

    def sent(self, s: DecisionContext) -> Mapping[str, Any]:
        """The values in which a circuit breaker looks for what a refusal names."""


SENT_STEPS: Mapping[StepKind, SentStep] = {
    StepKind.IDENTITY: identity_decision,
    StepKind.EXTENSION: extension_request,
    StepKind.REMOVAL: removal_step,
}
