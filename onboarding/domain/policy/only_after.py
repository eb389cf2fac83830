"""What has to be true before a policy removes an extension: another policy has been satisfied on the machine for a
while.

Azure Resource Manager shows that the other agent is installed and configured, but not that its data arrive. So the file
says which of the two is enough: `proof: arm`, or the agent's heartbeat in a workspace.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from onboarding.domain.reconcile.wait_schedule import Duration
from onboarding.domain.typed_file import FileMapping, Refused, Text

_CHOOSE = (
    'write heartbeat: "{LOG_ANALYTICS_WORKSPACE_ID}", the workspace in which the heartbeat of the other agent is looked'
    " for, or proof: arm, if it is enough that the other agent is installed"
)


class OnlyAfter(FileMapping, frozen=True):
    """The policy that must have been satisfied first, for how long, and how that is proved."""

    what: ClassVar[str] = "an onlyAfter"

    policy: Annotated[
        str, Meta(min_length=1, description="The name of the policy that must have been satisfied on the machine.")
    ]
    wait: Annotated[
        Duration, Meta(description="For how long, such as 24h.", extra={"is": "a duration", "fix": "write 24h"})
    ] = field(name="for")
    proof: Annotated[
        Literal["arm"] | None,
        Meta(
            description="arm: it is enough that ARM shows the other policy satisfied. No data are proved to arrive.",
            extra={"one": "proof", "many": "proofs"},
        ),
    ] = None
    heartbeat: Annotated[
        Text | None,
        Meta(
            description="The id of the workspace that must have a heartbeat of the machine; {NAME} stands for an app"
            " setting."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.proof and self.heartbeat:
            raise Refused("proof", "proof and heartbeat are both given", "keep one of them")
        if not self.proof and not self.heartbeat:
            problem = "nothing says how the other agent's work is proved before this one is removed"
            raise Refused("", problem, _CHOOSE)
