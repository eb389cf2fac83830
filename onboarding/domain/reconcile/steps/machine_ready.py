"""What a machine must be before an extension on it can be written or removed: running, with a guest agent that is
ready, with extension operations allowed, and with the extensions that this one needs. And what we must have: usable
settings of our own."""

from __future__ import annotations

from onboarding.domain.failures.classification import Cause, ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import AgentState, PowerState
from onboarding.domain.reconcile.decision import Decision, DecisionContext, Problem, Stop
from onboarding.domain.reconcile.retry import failed, gave_up
from onboarding.domain.reconcile.row import Outcome, WaitingFor


def disallowed(s: DecisionContext) -> Decision | None:
    facts = s.facts
    if facts.extension_operations_allowed is False:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return failed(s, cause, "the VM's owner switched extension operations off (allowExtensionOperations is false)")
    if facts.provision_vm_agent is False and facts.agent is not AgentState.READY:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return failed(s, cause, "the VM was made without the guest agent (provisionVMAgent is false)")
    return None


def not_running(s: DecisionContext) -> Decision | None:
    if s.facts.power in (PowerState.RUNNING, PowerState.UNKNOWN):
        return None
    reason = f"the VM is {s.facts.power}; extensions need a running VM, and its start event continues this row"
    return s.retry.wait_on(WaitingFor.VM_RUNNING, reason)


def agent_not_ready(s: DecisionContext) -> Decision | None:
    running = s.facts.power is PowerState.RUNNING
    if running and s.facts.agent is AgentState.READY and not s.facts.os_provisioning:
        return None
    later = s.retry.wait(WaitingFor.AGENT_READY, "the guest agent has not reported ready yet")
    return later or gave_up(s, Cause.VM_AGENT_UNREACHABLE, "the guest agent has not reported ready for too long")


def needed_missing(s: DecisionContext) -> Decision | None:
    """The wait for an extension that this one needs, whoever installs it: its event continues the row. While nothing
    installs it the row says what to do, and is checked for as long as it takes."""
    for entry in s.needed:
        extension = s.facts.find_extension(entry.publisher, entry.type)
        state = read_extension_state(extension) if extension is not None else None
        if state is ExtensionState.SUCCEEDED:
            continue
        ours = s.in_flight is not None and s.in_flight.extension == entry.name
        if ours or state is ExtensionState.IN_PROGRESS:
            reason = f"{s.entry.type} needs {entry.name}, whose install has not ended"
            return s.retry.wait_on(WaitingFor.NEEDED_EXTENSION, reason)
        how = "is not healthy" if state is ExtensionState.FAILED else "is not on the VM"
        reason = f"{s.entry.type} needs {entry.name}, which {how}"
        cause = Cause.NEEDED_EXTENSION_MISSING
        advice = (
            f"Have a policy install {entry.name} on this VM, or install it by other means; this row continues by itself"
            " when it has succeeded."
        )
        problem = Problem(cause, cause, f"{reason}.", advice)
        return s.retry.wait_on(WaitingFor.NEEDED_EXTENSION, reason, problem)
    return None


def misconfigured(s: DecisionContext) -> Decision | None:
    if not s.problems:
        return None
    named = "; ".join(s.problems)
    advice = "fix what is named here, then write the VM or retry the row"
    problem = Problem(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, named, advice)
    return Stop(Outcome.FAILED, f"our own settings are not usable: {named}", problem)
