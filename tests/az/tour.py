"""The commands of the Azure CLI that must behave here as against Azure, in the order in which they are run.

The texts after `az` are those that a person types. `{root}`, `{nested}` and `{onboard}` are files with templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.az.scenery import IDENTITY, RULE, WORKSPACE_ID, WORKSPACE_KEY, vm_id

_OMS = "--publisher Microsoft.EnterpriseCloud.Monitoring"
_SECRET = f"""--protected-settings '{{"workspaceKey": "{WORKSPACE_KEY}"}}'"""
_PUBLIC = f"""--settings '{{"workspaceId": "{WORKSPACE_ID}"}}'"""
_ASSOCIATIONS = f"{vm_id('myVM')}/providers/Microsoft.Insights/dataCollectionRuleAssociations"
_VM = "-g myResourceGroup -n other"
_EXTENSION = "-g myResourceGroup --vm-name myVM"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command. `table`: the head of its output as a table; `json`: what its output contains, part by part; `says`:
    texts in what it prints, errors included; `code`: its exit code."""

    line: str
    table: str = ""
    json: Any = None
    says: tuple[str, ...] = ()
    code: int = 0


def step(line: str, **expected: Any) -> Step:
    return Step(line=line, **expected)


_VM_HEAD = "Name ResourceGroup Location"
_EXTENSION_HEAD = "Name ProvisioningState Publisher Version AutoUpgradeMinorVersion"
_ACCOUNT = {"name": "Simulated subscription", "state": "Enabled", "environmentName": "Laptop", "isDefault": True}
_INSTALLED: Mapping[str, Any] = {
    "name": "OmsAgentForLinux",
    "provisioningState": "Succeeded",
    "publisher": "Microsoft.EnterpriseCloud.Monitoring",
    "typePropertiesType": "OmsAgentForLinux",
    "typeHandlerVersion": "1.0",
    "autoUpgradeMinorVersion": True,
    "settings": {"workspaceId": WORKSPACE_ID},
    "resourceGroup": "myResourceGroup",
}

ACCOUNT = (
    step("account show", table="EnvironmentName HomeTenantId IsDefault Name State TenantId", json=_ACCOUNT),
    step("account list", table="Name CloudName SubscriptionId TenantId State IsDefault"),
    step("account list-locations --query [0:2]", table="DisplayName Name RegionalDisplayName", json=[{}, {}]),
    step("group list", table="Name Location Status", json=[{"name": "myResourceGroup"}, {}, {}, {}]),
    step("group show -n myResourceGroup", table="Location Name", json={"location": "westeurope"}),
    step("group exists -n myResourceGroup", says=("true",)),
    step("group exists -n nowhere", says=("false",)),
    step("provider register -n Microsoft.Compute"),
    step("provider show -n Microsoft.Compute --query '{state: registrationState}'", json={"state": "Registered"}),
)
MACHINES = (
    # Across a subscription, Azure spells the group in capitals.
    step("vm list", table=_VM_HEAD, says=("MYRESOURCEGROUP", "RG-ELSEWHERE")),
    step("vm list -g rg-elsewhere", table=_VM_HEAD, json=[{"name": "elsewhere", "resourceGroup": "rg-elsewhere"}]),
    step("vm list -d -g rg-elsewhere", table="Name ResourceGroup PowerState PublicIps Fqdns Location"),
    step(f"vm show {_VM}", table=_VM_HEAD, json={"name": "other", "tags": {"team": "a"}}),
    step(f"vm show -d {_VM}", json={"powerState": "VM running", "publicIps": ""}),
    step(
        f"vm get-instance-view {_VM}",
        table="Name ResourceGroup Location ProvisioningState PowerState",
        json={"instanceView": {"vmAgent": {"statuses": [{"displayStatus": "Ready"}]}}},
    ),
    step("vm list-ip-addresses -g rg-elsewhere", table="VirtualMachine PrivateIPAddresses"),
    step("vm show -g myResourceGroup -n nobody", code=3, says=("(ResourceNotFound)",)),
    step("vm list -g nowhere", code=3, says=("(ResourceGroupNotFound)",)),
    step(f"vm update {_VM} --set tags.x=y", json={"tags": {"team": "a", "x": "y"}}),
    # `az vm update` sends the VM without its image, which cannot change.
    step(f"vm show {_VM}", json={"storageProfile": {"imageReference": {"offer": "UbuntuServer"}}}),
    step(f"vm deallocate {_VM}"),
    step(f"vm show -d {_VM} --query powerState -o tsv", says=("VM deallocated",)),
    step(
        f"vm extension set {_VM.replace('-n', '--vm-name')} --name OmsAgentForLinux {_OMS} --version 1.0 {_PUBLIC}",
        code=1,
        says=("(OperationNotAllowed)", "when the VM is not running"),
    ),
    step(f"vm start {_VM}"),
    step(f"vm stop {_VM}"),
    step(f"vm show -d {_VM} --query powerState -o tsv", says=("VM stopped",)),
    step(f"vm start {_VM}"),
    step(f"vm restart {_VM}", json={"status": "Succeeded"}),
    step(f"vm show -d {_VM} --query powerState -o tsv", says=("VM running",)),
    step(f"vm identity assign {_VM}", says=("systemAssignedIdentity",)),
    step(f"vm identity assign {_VM} --identities {IDENTITY}", says=("clientId",)),
    step(f"vm identity show {_VM}", table="PrincipalId TenantId", json={"type": "SystemAssigned, UserAssigned"}),
    step(f"vm identity remove {_VM}", json={"type": "UserAssigned"}),
    step(f"vm identity remove {_VM} --identities {IDENTITY}", json={"type": "None"}),
)
EXTENSIONS = (
    step(f"vm extension list {_EXTENSION}", json=[]),
    # the document's own line
    step(
        f"vm extension set --resource-group myResourceGroup --vm-name myVM --name OmsAgentForLinux {_OMS} "
        f"--version 1.0 {_SECRET} {_PUBLIC}",
        json=_INSTALLED,
    ),
    step("vm extension list --resource-group myResourceGroup --vm-name myVM", table=_EXTENSION_HEAD),
    step(f"vm extension show {_EXTENSION} -n OmsAgentForLinux", table=_EXTENSION_HEAD, json=_INSTALLED),
    step(
        f"vm extension show {_EXTENSION} -n OmsAgentForLinux --instance-view",
        json={"instanceView": {"statuses": [{"code": "ProvisioningState/succeeded"}]}},
    ),
    step(f"vm extension show {_EXTENSION} -n nobody", code=3, says=("(ResourceNotFound)",)),
    step(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --created"),
    step(f"resource show --ids {vm_id('myVM')}/extensions/OmsAgentForLinux", table="Location Name ResourceGroup"),
    step(
        "resource show -g myResourceGroup -n myVM --resource-type Microsoft.Compute/virtualMachines",
        json={"name": "myVM"},
    ),
    step("resource list -g rg-elsewhere", table="Name ResourceGroup Location Type Status", says=("elsewhere-nic",)),
    step("resource list --tag x=y", json=[{"name": "other", "provisioningState": "Succeeded"}]),
    step(f"vm extension image list-names -l westeurope --publisher {_OMS.partition(' ')[2]}", table="Location Name"),
    step(
        f"vm extension image list-versions -l westeurope --publisher {_OMS.partition(' ')[2]} -n OmsAgentForLinux",
        table="Location Name",
    ),
    # without a version, the CLI looks for the newest one
    step(f"vm extension set {_EXTENSION} --name OmsAgentForLinux {_OMS} {_SECRET} {_PUBLIC} --no-wait"),
    step(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --updated --interval 1"),
    step(f"vm extension delete {_EXTENSION} -n OmsAgentForLinux --no-wait"),
    step(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --deleted --interval 1"),
    step(f"vm extension list {_EXTENSION}", json=[]),
    # a refusal in the VM is a failed operation
    step(
        f"vm extension set {_EXTENSION} --name OmsAgentForLinux {_OMS} --version 1.0 {_SECRET} "
        """--settings '{"workspaceId": "omsid"}'""",
        code=1,
        says=("Non-zero exit code: 11", "Workspace ID is invalid"),
    ),
    step(f"vm extension list {_EXTENSION}", table=_EXTENSION_HEAD, json=[{"provisioningState": "Failed"}]),
    step(f"vm extension delete {_EXTENSION} -n OmsAgentForLinux"),
)
ASSOCIATIONS = (
    step(
        f"rest --method put --url {_ASSOCIATIONS}/one?api-version=2022-06-01 "
        f"""--body '{{"properties": {{"dataCollectionRuleId": "{RULE}"}}}}'""",
        json={"name": "one"},
    ),
    step(f"rest --url {_ASSOCIATIONS}?api-version=2022-06-01", json={"value": [{"name": "one"}]}),
    step(f"rest --method delete --url {_ASSOCIATIONS}/one?api-version=2022-06-01"),
    step(f"rest --url {_ASSOCIATIONS}/one?api-version=2022-06-01", code=1, says=("ResourceNotFound",)),
)
_DEPLOY = "deployment group create -g myResourceGroup"
_DEPLOYMENT_HEAD = "Name State Timestamp Mode ResourceGroup"
DEPLOYMENTS = (
    step(
        "deployment group validate -g myResourceGroup -n root --template-file {root} "
        f"--parameters key={WORKSPACE_KEY}",
        table="Result CorrelationId",
    ),
    step(
        f"{_DEPLOY} -n root --template-file {{root}} --parameters key={WORKSPACE_KEY}",
        json={"properties": {"provisioningState": "Succeeded", "mode": "Incremental"}},
    ),
    step(f"{_DEPLOY} -n nested --template-file {{nested}} --parameters key={WORKSPACE_KEY} --no-wait"),
    step("deployment group wait -g myResourceGroup -n nested --created --interval 1"),
    step(f"{_DEPLOY} -n onboard --template-file {{onboard}} --no-wait"),
    step("deployment group wait -g myResourceGroup -n onboard --created --interval 1"),
    step("deployment group list -g myResourceGroup", table=_DEPLOYMENT_HEAD),
    step(
        "deployment group show -g myResourceGroup -n onboard --query properties.provisioningState", says=("Succeeded",)
    ),
    step("deployment operation group list -g myResourceGroup -n onboard --query length(@)", says=("3",)),
    step(f"{_DEPLOY} -n bad --template-file {{bad}}", code=1, says=("InvalidTemplate",)),
)
END = (
    step("vm delete -g myResourceGroup -n other --yes"),
    step("vm show -g myResourceGroup -n other", code=3, says=("(ResourceNotFound)",)),
)
TOUR = (*ACCOUNT, *MACHINES, *EXTENSIONS, *ASSOCIATIONS, *DEPLOYMENTS, *END)
