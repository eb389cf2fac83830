"""What marks machines that are not their owner's to change, and what only looks like it."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.machine.managed_machines import included, parse_kinds
from onboarding.loading.package_data import managed_kinds
from tests.reference import recognise

KINDS = [kind.name for kind in managed_kinds()]
GUID = "0f9c7a52-6c1e-4a0b-9d53-2b1f6f0c1d77"


def facts(name: str = "web01", group: str = "app-rg", *, admin: str = "", **body: Any) -> MachineFacts:
    path = f"/subscriptions/s1/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    image = body.pop("image", {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS"})
    properties = {"storageProfile": {"imageReference": image}, "osProfile": {"adminUsername": admin}}
    return read_facts({"id": path, "name": name, "properties": properties, **body})


def tagged(*, vm: str = "web01", group: str = "app-rg", **tags: Any) -> MachineFacts:
    return facts(vm, group, tags=tags)


def with_image(**image: str) -> MachineFacts:
    return facts(image=image)


RECOGNISED: dict[str, list[MachineFacts]] = {
    "karpenter-node": [
        facts(tags={"karpenter.azure.com_cluster": "c1"}),
        facts(tags={"karpenter.sh_nodepool": "default", "compute.aks.billing": "linux"}),
        facts("aks-general-x7k2p", "MC_rg_c1_westeurope", tags={"karpenter.azure.com_aksmachine_nodeclaim": "n"}),
        facts(tags={"KARPENTER.SH_NodeClaim": ""}),
        facts(tags={"karpenter.sh/nodepool": "default"}),
    ],
    "kubernetes-node": [
        facts(tags={"sigs.k8s.io_cluster-api-provider-azure_cluster_blue": "owned"}),
        facts(tags={"sigs.k8s.io_cluster-api-provider-azure_role": "control-plane"}),
        facts(tags={"kubernetes.io-cluster-shoot--dev--a": "1", "kubernetes.io-role-node": "1"}),
        tagged(creationSource="aksengine-k8s-pool1-48213377-0", orchestrator="Kubernetes:1.15.7", poolName="pool1"),
        tagged(aksEngineVersion="v0.47.0"),
    ],
    "aks-node": [
        facts(tags={"aks-managed-creationSource": "vmssclient-aks-pool1-48213377-vmss"}),
        facts(tags={"aks-managed-orchestrator": "Kubernetes:1.29.4"}),
        facts(tags={"AKS-Managed-PoolName": ""}),
        tagged(creationSource="aks-aks-pool1-48213377-vmss"),
        tagged(CREATIONSOURCE="AKS-pool1", orchestrator="kubernetes:1.14.8"),
        tagged(orchestrator="Kubernetes:1.14.8", poolName="pool1"),
        tagged(vm="aks-pool1-48213377-0", orchestrator="Kubernetes:1.14.8"),
        tagged(group="MC_rg_c1_westeurope", creationSource="aks-pool1"),
        facts("aks-pool1-48213377-2", "mc_rg_c1_westeurope"),
        facts("aks-pool1-0", "MC_RG_C1_WESTEUROPE"),
        facts("akswin000001", "MC_rg_c1_westeurope"),
        tagged(orchestrator="kubernetes:1.14.8"),
        with_image(publisher="microsoft-aks", offer="aks", sku="aks-ubuntu-1604-201907"),
        with_image(
            id="/subscriptions/s/resourceGroups/AKS-Ubuntu/providers/Microsoft.Compute/galleries/AKSUbuntu"
            "/images/2204gen2containerd/versions/202405.20.0"
        ),
        with_image(communityGalleryImageId=f"/CommunityGalleries/AKSUbuntu-{GUID}/Images/2204/Versions/1.0.0"),
        facts(managedBy="/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c1"),
    ],
    "openshift-node": [
        facts(tags={"kubernetes.io_cluster.blue-x7k2p": "owned"}),
        facts(tags={"Kubernetes.io_Cluster.blue-x7k2p": "Owned", "env": "prod"}),
        with_image(publisher="azureopenshift", offer="aro4", sku="aro_414"),
        with_image(publisher="RedHat", offer="rh-ocp-worker", sku="rh-ocp-worker-gen1"),
        facts(plan={"publisher": "redhat-limited", "product": "rh-opp-worker", "name": "rh-opp-worker"}),
        facts("blue-x7k2p-worker-westeurope1-9qz4d", "aro-k3v9d2xa"),
        facts("blue-x7k2p-master-0", "ARO-k3v9d2xa"),
    ],
    "databricks-node": [
        tagged(Vendor="Databricks", ClusterId="1120-101010-abc"),
        tagged(vendor="DATABRICKS"),
        facts(tags={"databricks-environment": "true"}),
        tagged(DatabricksInstancePoolId="1120-101010-pool"),
        facts("0123456789abcdef0123456789abcdef", "databricks-rg-lake-4v2xkq7mn3z5a"),
        tagged(group="databricks-rg-lake-4v2xkq7mn3z5a", ClusterName="etl"),
        with_image(publisher="AzureDatabricks", offer="Databricks", sku="Databricks"),
    ],
    "image-builder": [
        tagged(createdBy="AzureVMImageBuilder"),
        tagged(CreatedBy="azurevmimagebuilder"),
        tagged(imageTemplateName="t", imageTemplateResourceGroupName="images"),
        tagged(group="it_images_t", imageTemplateName="t"),
        facts("build", f"IT_images_ubuntu_{GUID}"),
        facts("pkrvmq8s1zk27dx", "IT_images_ubuntu"),
    ],
    "packer-build": [
        facts("any", "pkr-Resource-Group-q8s1zk27dx"),
        facts("any", "PACKER-RESOURCE-GROUP-q8s1zk27dx"),
        facts("pkrvmq8s1zk27dx", "images"),
        facts("pkrvm7", "images", admin="packer"),
        facts("PkrVMq8s1zk2", "packer-builds"),
        facts("imgvmq8s1z", "img-Resource-Group-q8s1z", admin="packer"),
        tagged(created_by="Packer"),
    ],
    "citrix-preparation": [
        facts("Preparati-84x9n", "citrix-xd-vdi"),
        facts("PREPARATI-a1b2c"),
        tagged(vm="Preparati", CitrixProvisioningSchemeId=GUID),
    ],
    "repair-vm": [facts("repair-web01_", tags={"repair_source": "app-rg/web01"})],
    "managed-by": [facts(managedBy="/subscriptions/s/resourceGroups/g/providers/Contoso.Backup/workers/w1")],
}
CASES = [
    pytest.param(kind, each, id=f"{kind}-{i}") for kind, found in RECOGNISED.items() for i, each in enumerate(found)
]
OWN = [
    facts(),
    facts("MC_Donalds", "MC_Donalds"),
    facts("web01", "MC_rg_c1_westeurope"),  # a jump host that somebody put there
    facts("aks-jumphost", "aks-tools", tags={"aks-cluster": "c1", "poolName": "x", "aks-managed": "no"}),
    facts("aks-jumphost", "MC_rg_c1_westeurope"),
    tagged(orchestrator="Kubernetes"),
    tagged(orchestrator="Kubernetes:team"),
    tagged(orchestrator="terraform", poolName="web"),
    tagged(creationSource="portal", poolName="web"),
    tagged(creationSource="aks-team"),
    tagged(karpenter="no", karpenters="2"),
    facts(tags={"kubernetes.io_cluster.blue": "shared"}),
    facts(tags={"kubernetes-cluster-name": "blue"}),
    with_image(publisher="RedHat", offer="RHEL", sku="7.9"),
    facts("aro-bastion", "aro-platform"),
    facts("jump-worker", "aro-platform"),
    tagged(Vendor="Oracle", application="Databricks gateway"),
    facts("gateway", "databricks-rg-tools"),
    tagged(group="hpc", ClusterId="7", ClusterName="hpc"),
    facts("files01", "IT_servers"),
    facts("files01", "IT_servers_2026-11-20"),
    tagged(createdBy="ImageBuilder team"),
    tagged(createdBy="terraform", imageTemplateName="ubuntu1604"),  # its image comes from there
    facts("packer-server", "packer", admin="packer"),  # where builds are started
    facts("web-vm-00001", "App-Resource-Group-00001", admin="azureuser"),
    facts("vdi-0001", "citrix-xd-vdi", tags={"CitrixProvisioningSchemeId": GUID, "CitrixResource": ""}),
    facts("preparation-server"),
    facts("avd-host-0", "avd", tags={"cm-resource-parent": "/subscriptions/s/…/hostpools/p"}),
    facts(
        managedBy="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/flex",
        properties={"virtualMachineScaleSet": None},
    ),
    facts(tags={"repair_source": "no"}),
    facts(tags=None),
    facts(tags={"karpenter": ["not a text"], 7: "x"}),
    read_facts({}),
    read_facts("not a VM"),
]


@pytest.mark.parametrize(("kind", "machine"), CASES)
def test_each_kind_is_recognised_and_the_reason_says_by_what(kind: str, machine: MachineFacts) -> None:
    found = recognise(machine)
    assert found is not None
    assert found.kind == kind
    what = next(each.what for each in managed_kinds() if each.name == kind)
    assert found.reason.startswith(f"it is {what} (")
    assert found.reason.removeprefix(f"it is {what} (").rstrip(")")


@pytest.mark.parametrize("machine", OWN, ids=range(len(OWN)))
def test_a_machine_that_is_only_similar_is_not_managed(machine: MachineFacts) -> None:
    assert recognise(machine) is None


def test_every_kind_has_a_case() -> None:
    assert set(RECOGNISED) == set(KINDS)


def test_the_reason_names_the_tag_as_it_is_written() -> None:
    found = recognise(facts(tags={"env": "x", "Kubernetes.io_cluster.blue": "Owned"}))
    assert found is not None
    assert found.reason == "it is a node of OpenShift (tag Kubernetes.io_cluster.blue: Owned)"


def test_a_reason_is_short_and_steers_no_terminal() -> None:
    found = recognise(facts(tags={"karpenter.sh_x": "\x1b[2J" + "y" * 10_000}))
    assert found is not None
    assert found.reason.isprintable()
    assert len(found.reason) < 200


@pytest.mark.parametrize(("kind", "machine"), CASES)
def test_case_does_not_matter(kind: str, machine: MachineFacts) -> None:
    def upper(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: upper(each) for key, each in value.items()}
        return value.upper() if isinstance(value, str) else value

    body = dict(machine.body)
    tags = {key.upper(): value.upper() for key, value in (body.get("tags") or {}).items()}
    found = recognise(read_facts({**upper(body), "id": body["id"].upper(), "tags": tags}))
    assert found is not None
    assert found.kind == kind


WORDS = st.text(string.ascii_letters + string.digits + "-_.* []?", min_size=1, max_size=12)


@given(name=WORDS, group=WORDS, tags=st.dictionaries(WORDS, WORDS, max_size=6))
def test_other_names_and_tags_change_nothing(name: str, group: str, tags: dict[str, str]) -> None:
    """A machine's own kind stays, whatever else it is called and tagged; and chance marks nobody."""
    mark = {"kubernetes.io_cluster.blue": "owned"}
    found = recognise(facts(name, group, tags={**{f"x-{key}": value for key, value in tags.items()}, **mark}))
    assert found is not None
    assert recognise(facts(f"x{name}", f"x{group}", tags={f"x-{key}": value for key, value in tags.items()})) is None


KIND: dict[str, Any] = {"name": "a-kind", "is": "a thing", "why": "w", "source": "s", "evidence": [{"name": "abc*"}]}


def test_the_data_is_checked_when_it_is_loaded() -> None:
    (kind,) = parse_kinds({"kinds": [KIND]}, "d.yaml")
    assert (kind.name, kind.what) == ("a-kind", "a thing")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (None, "missing list 'kinds' (d.yaml: kinds); write `- {name"),
        ({"kinds": []}, "an empty list is not a list of kinds (d.yaml: kinds); write `- {name"),
        ({"kinds": ["x"]}, "'x' is not a mapping (d.yaml: kinds[0]); write a mapping with the keys name, is, why"),
        ({"kinds": [KIND, KIND]}, "two kinds have the name 'a-kind' (d.yaml: kinds[1].name); give"),
        ({"kinds": [{**KIND, "nam": "x"}]}, "unknown key 'nam' in a kind (d.yaml: kinds[0].nam); known keys: name, is"),
        ({"kinds": [{**KIND, "name": "A Kind"}]}, "'A Kind' is not the name of a kind (d.yaml: kinds[0].name); use"),
        ({"kinds": [{**KIND, "source": " "}]}, "' ' is not a text (d.yaml: kinds[0].source); add"),
        ({"kinds": [{**KIND, "source": None}]}, "missing key 'source' in a kind (d.yaml: kinds[0].source); add"),
        (
            {"kinds": [{**KIND, "evidence": []}]},
            "an empty list is not a list of evidence (d.yaml: kinds[0].evidence); write",
        ),
        ({"kinds": [{**KIND, "evidence": [{}]}]}, "this evidence is empty (d.yaml: kinds[0].evidence[0]); name"),
        (
            {"kinds": [{**KIND, "evidence": [{"tags": {}}]}]},
            "this evidence is empty (d.yaml: kinds[0].evidence[0]); name",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"nmae": "x"}]}]},
            "unknown key 'nmae' in a kind (d.yaml: kinds[0].evidence[0].nmae); known keys:",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"name": "*"}]}]},
            "this evidence fits every machine (d.yaml: kinds[0].evidence[0]); name",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"name": 7}]}]},
            "7 is not a pattern (d.yaml: kinds[0].evidence[0].name); write",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"name": []}]}]},
            "an empty list is not a pattern (d.yaml: kinds[0].evidence[0].name); write",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"tags": {"*": "x"}}]}]},
            "'*' is too short for the key of a tag (d.yaml: kinds[0].evidence[0].tags.*); write",
        ),
        (
            {"kinds": [{**KIND, "evidence": [{"tags": {"abc": None}}]}]},
            "null is not a pattern (d.yaml: kinds[0].evidence[0].tags.abc); write",
        ),
    ],
)
def test_wrong_data_is_refused_with_its_place(raw: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        parse_kinds(raw, "d.yaml")


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (False, set()),
        (True, set(KINDS)),
        ("aks-node", {"aks-node"}),
        (["aks-node", "packer-build"], {"aks-node", "packer-build"}),
        ([], set()),
    ],
)
def test_a_policy_names_the_kinds_that_it_takes_in(raw: bool | str | list[str], names: set[str]) -> None:
    assert included(raw, managed_kinds(), "p.yaml: includeManaged") == names


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("yes", "unknown kind 'yes' (p.yaml: includeManaged); write"),
        (["aks-node", "aks"], "unknown kind 'aks' (p.yaml: includeManaged[1]); write"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_known_ones(raw: str | list[str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        included(raw, managed_kinds(), "p.yaml: includeManaged")
    assert f"known kinds: {', '.join(KINDS)}" in str(caught.value)


def test_a_name_is_read_where_there_is_no_id() -> None:
    found = recognise(read_facts({"name": "pkrvmq8s1zk27dx", "properties": {}}))
    assert found
    assert found.kind == "packer-build"
