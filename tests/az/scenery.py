"""The cloud that the Azure CLI meets in the tests, and in which its recorded requests are sent again."""

from __future__ import annotations

from simulator.arm import ArmSimulator, Guest, VmSpec

SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
GROUP = "myResourceGroup"
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups"
RULE = f"{SCOPE}/rg-monitor/providers/Microsoft.Insights/dataCollectionRules/rule"
IDENTITY = f"{SCOPE}/rg-identities/providers/Microsoft.ManagedIdentity/userAssignedIdentities/agents"
# `base64 <<< omskey`, as the document's example would be
WORKSPACE_ID, WORKSPACE_KEY = "6f680a37-00c6-41c7-a93f-1437e3462574", "b21za2V5"
_VMS = ("myVM", "other", "by-root", "by-nest", "by-onboard")


def vm_id(name: str) -> str:
    return f"{SCOPE}/{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"


def furnish(arm: ArmSimulator) -> None:
    """Add the VMs, a rule and an identity."""
    for name in _VMS:
        arm.add_vm(VmSpec(name=name, group=GROUP, guest=Guest(agent_delay=0), tags={"team": "a"}))
    arm.add_vm(VmSpec(name="elsewhere", group="rg-elsewhere"))
    arm.identities.add(IDENTITY)
    arm.insights.resources.add_rule(RULE)
