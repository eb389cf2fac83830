"""The commands of the Azure CLI that must behave here as against Azure, in the order in which they are run.

The texts after `az` are those that a person types. `{root}`, `{nested}` and `{onboard}` are files with templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    changes: bool = field(default=False)
    """Whether the command writes; one that reads is run for each form of output."""


def write(line: str, **expected: Any) -> Step:
    return Step(line=line, changes=True, **expected)


def read(line: str, **expected: Any) -> Step:
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
    read("account show", table="EnvironmentName HomeTenantId IsDefault Name State TenantId", json=_ACCOUNT),
    read("account list", table="Name CloudName SubscriptionId TenantId State IsDefault"),
    read("account list-locations --query [0:2]", table="DisplayName Name RegionalDisplayName", json=[{}, {}]),
    read("group list", table="Name Location Status", json=[{"name": "myResourceGroup"}, {}, {}, {}]),
    read("group show -n myResourceGroup", table="Location Name", json={"location": "westeurope"}),
    read("provider show -n Microsoft.Compute --query '{state: registrationState}'", json={"state": "Registered"}),
)
MACHINES = (
    # Across a subscription, Azure spells the group in capitals.
    read("vm list", table=_VM_HEAD, says=("MYRESOURCEGROUP", "RG-ELSEWHERE")),
    read("vm list -g rg-elsewhere", table=_VM_HEAD, json=[{"name": "elsewhere", "resourceGroup": "rg-elsewhere"}]),
    read("vm list -d -g rg-elsewhere", table="Name ResourceGroup PowerState PublicIps Fqdns Location"),
    read(f"vm show {_VM}", table=_VM_HEAD, json={"name": "other", "tags": {"team": "a"}}),
    read(f"vm show -d {_VM}", json={"powerState": "VM running", "publicIps": ""}),
    read(
        f"vm get-instance-view {_VM}",
        table="Name ResourceGroup Location ProvisioningState PowerState",
        json={"instanceView": {"vmAgent": {"statuses": [{"displayStatus": "Ready"}]}}},
    ),
    read("vm show -g myResourceGroup -n nobody", code=3, says=("(ResourceNotFound)",)),
    read("vm list -g nowhere", code=3, says=("(ResourceGroupNotFound)",)),
    write(f"vm update {_VM} --set tags.x=y", json={"tags": {"team": "a", "x": "y"}}),
    # `az vm update` sends the VM without its image, which cannot change.
    read(f"vm show {_VM}", json={"storageProfile": {"imageReference": {"offer": "UbuntuServer"}}}),
    write(f"vm deallocate {_VM}"),
    read(f"vm show -d {_VM} --query powerState -o tsv", says=("VM deallocated",)),
    write(
        f"vm extension set {_VM.replace('-n', '--vm-name')} --name OmsAgentForLinux {_OMS} --version 1.0 {_PUBLIC}",
        code=1,
        says=("(OperationNotAllowed)", "when the VM is not running"),
    ),
    write(f"vm start {_VM}"),
    read(f"vm show -d {_VM} --query powerState -o tsv", says=("VM running",)),
    write(f"vm identity assign {_VM}", says=("systemAssignedIdentity",)),
    write(f"vm identity assign {_VM} --identities {IDENTITY}", says=("clientId",)),
    read(f"vm identity show {_VM}", table="PrincipalId TenantId", json={"type": "SystemAssigned, UserAssigned"}),
    write(f"vm identity remove {_VM}", json={"type": "UserAssigned"}),
    write(f"vm identity remove {_VM} --identities {IDENTITY}", json={"type": "None"}),
)
EXTENSIONS = (
    read(f"vm extension list {_EXTENSION}", json=[]),
    # the document's own line
    write(
        f"vm extension set --resource-group myResourceGroup --vm-name myVM --name OmsAgentForLinux {_OMS} "
        f"--version 1.0 {_SECRET} {_PUBLIC}",
        json=_INSTALLED,
    ),
    read("vm extension list --resource-group myResourceGroup --vm-name myVM", table=_EXTENSION_HEAD),
    read(f"vm extension show {_EXTENSION} -n OmsAgentForLinux", table=_EXTENSION_HEAD, json=_INSTALLED),
    read(
        f"vm extension show {_EXTENSION} -n OmsAgentForLinux --instance-view",
        json={"instanceView": {"statuses": [{"code": "ProvisioningState/succeeded"}]}},
    ),
    read(f"vm extension show {_EXTENSION} -n nobody", code=3, says=("(ResourceNotFound)",)),
    write(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --created"),
    read(f"resource show --ids {vm_id('myVM')}/extensions/OmsAgentForLinux", table="Location Name ResourceGroup"),
    read(
        "resource show -g myResourceGroup -n myVM --resource-type Microsoft.Compute/virtualMachines",
        json={"name": "myVM"},
    ),
    read("resource list -g rg-elsewhere", table="Name ResourceGroup Location Type Status", says=("elsewhere-nic",)),
    read("resource list --tag x=y", json=[{"name": "other", "provisioningState": "Succeeded"}]),
    read(
        f"vm extension image list-versions -l westeurope --publisher {_OMS.partition(' ')[2]} -n OmsAgentForLinux",
        table="Location Name",
    ),
    # without a version, the CLI looks for the newest one
    write(f"vm extension set {_EXTENSION} --name OmsAgentForLinux {_OMS} {_SECRET} {_PUBLIC} --no-wait"),
    write(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --updated --interval 1"),
    write(f"vm extension delete {_EXTENSION} -n OmsAgentForLinux --no-wait"),
    write(f"vm extension wait {_EXTENSION} -n OmsAgentForLinux --deleted --interval 1"),
    read(f"vm extension list {_EXTENSION}", json=[]),
    # a refusal in the VM is a failed operation
    write(
        f"vm extension set {_EXTENSION} --name OmsAgentForLinux {_OMS} --version 1.0 {_SECRET} "
        """--settings '{"workspaceId": "omsid"}'""",
        code=1,
        says=("Non-zero exit code: 11", "Workspace ID is invalid"),
    ),
    read(f"vm extension list {_EXTENSION}", table=_EXTENSION_HEAD, json=[{"provisioningState": "Failed"}]),
    write(f"vm extension delete {_EXTENSION} -n OmsAgentForLinux"),
)
ASSOCIATIONS = (
    write(
        f"rest --method put --url {_ASSOCIATIONS}/one?api-version=2022-06-01 "
        f"""--body '{{"properties": {{"dataCollectionRuleId": "{RULE}"}}}}'""",
        json={"name": "one"},
    ),
    read(f"rest --url {_ASSOCIATIONS}?api-version=2022-06-01", json={"value": [{"name": "one"}]}),
    write(f"rest --method delete --url {_ASSOCIATIONS}/one?api-version=2022-06-01"),
    read(f"rest --url {_ASSOCIATIONS}/one?api-version=2022-06-01", code=1, says=("ResourceNotFound",)),
)
_DEPLOY = "deployment group create -g myResourceGroup"
_DEPLOYMENT_HEAD = "Name State Timestamp Mode ResourceGroup"
DEPLOYMENTS = (
    read(
        "deployment group validate -g myResourceGroup -n root --template-file {root} "
        f"--parameters key={WORKSPACE_KEY}",
        table="Result CorrelationId",
    ),
    write(
        f"{_DEPLOY} -n root --template-file {{root}} --parameters key={WORKSPACE_KEY}",
        json={"properties": {"provisioningState": "Succeeded", "mode": "Incremental"}},
    ),
    write(f"{_DEPLOY} -n nested --template-file {{nested}} --parameters key={WORKSPACE_KEY} --no-wait"),
    write("deployment group wait -g myResourceGroup -n nested --created --interval 1"),
    write(f"{_DEPLOY} -n onboard --template-file {{onboard}} --no-wait"),
    write("deployment group wait -g myResourceGroup -n onboard --created --interval 1"),
    read("deployment group list -g myResourceGroup", table=_DEPLOYMENT_HEAD),
    read(
        "deployment group show -g myResourceGroup -n onboard --query properties.provisioningState", says=("Succeeded",)
    ),
    read("deployment operation group list -g myResourceGroup -n onboard --query length(@)", says=("3",)),
    write(f"{_DEPLOY} -n bad --template-file {{bad}}", code=1, says=("InvalidTemplate",)),
)
END = (
    write("vm delete -g myResourceGroup -n other --yes"),
    read("vm show -g myResourceGroup -n other", code=3, says=("(ResourceNotFound)",)),
)
TOUR = (*ACCOUNT, *MACHINES, *EXTENSIONS, *ASSOCIATIONS, *DEPLOYMENTS, *END)
