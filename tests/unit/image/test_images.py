"""Which source is read, which one wins, and the reason when no source has an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.image.os_identification import NO_OVERRIDES, ImageDefinition, OsSource, read_definition
from onboarding.domain.image.overrides import parse_overrides
from onboarding.domain.machine.machine_facts import ImageKind, ImageReference, MachineFacts, OsType, read_facts
from tests.reference import identify, release_of_image

_GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/golden/images/base/versions/1.0.0"
_UBUNTU = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}
_SILENT = {"publisher": "fortinet", "offer": "fortinet_fortigate-vm_v5", "sku": "fortinet_fg-vm", "version": "latest"}


def _vm(
    image: dict[str, Any] | None = None,
    *,
    guest: tuple[str, str] | None = None,
    os_type: str = "Linux",
    plan: dict[str, str] | None = None,
    size: str = "Standard_D2s_v3",
) -> MachineFacts:
    storage: dict[str, Any] = {"osDisk": {"osType": os_type}}
    if image is not None:
        storage["imageReference"] = image
    properties: dict[str, Any] = {"storageProfile": storage, "hardwareProfile": {"vmSize": size}}
    if guest is not None:
        properties["instanceView"] = {"osName": guest[0], "osVersion": guest[1]}
    return read_facts({"properties": properties, **({"plan": plan} if plan else {})})


def test_the_marketplace_image_tells() -> None:
    release = identify(_vm(_UBUNTU))
    assert (release.distribution, release.version, release.source) == ("ubuntu", "16.04", OsSource.IMAGE)
    assert release.os_type is OsType.LINUX
    assert not release.needs_agent


def test_the_plan_tells_where_the_image_is_silent() -> None:
    plan = {"publisher": "cognosys", "product": "centos-7-5", "name": "hardened-centos-7-5"}
    release = identify(_vm({"id": _GALLERY}, plan=plan))
    assert (release.distribution, release.version, release.source) == ("centos", "7.5", OsSource.PLAN)


def test_the_plan_of_the_gallery_definition_tells() -> None:
    definition = read_definition(
        {
            "properties": {
                "osType": "Linux",
                "architecture": "x64",
                "identifier": {"publisher": "JavaSDKTeam", "offer": "JDK", "sku": "11"},
                "purchasePlan": {"publisher": "cognosys", "product": "centos-7-5", "name": "centos-7-5"},
            }
        }
    )
    release = identify(_vm({"id": _GALLERY}), definition=definition)
    assert (release.distribution, release.source, release.architecture) == ("centos", OsSource.PLAN, "x86_64")


def test_the_guest_agent_tells_where_names_are_silent() -> None:
    release = identify(_vm(_SILENT, guest=("centos", "7.9.2009")))
    assert (release.distribution, release.version, release.source) == ("centos", "7.9", OsSource.AGENT)
    assert not release.needs_agent


def test_the_guest_agent_adds_the_version_that_the_name_lacks() -> None:
    image = {"publisher": "microsoft-ads", "offer": "linux-data-science-vm-ubuntu", "sku": "linuxdsvmubuntu"}
    assert identify(_vm(image)).needs_agent
    release = identify(_vm(image, guest=("ubuntu", "16.04")))
    assert (release.distribution, release.version, release.source) == ("ubuntu", "16.04", OsSource.AGENT)


@pytest.mark.parametrize("guest", [("ubuntu", "18.04"), ("debian", "10")])
def test_the_running_system_wins_over_the_name_and_the_reason_names_both(guest: tuple[str, str]) -> None:
    release = identify(_vm(_UBUNTU, guest=guest))
    assert (release.distribution, release.version, release.source) == (*guest, OsSource.AGENT)
    assert "Ubuntu 16.04" in release.reason
    assert f"'{guest[0]} {guest[1]}'" in release.reason


def test_an_agent_that_knows_more_digits_is_no_contradiction() -> None:
    image = {"publisher": "RedHat", "offer": "RHEL", "sku": "8-lvm-gen2"}
    release = identify(_vm(image, guest=("redhat", "8.10")))
    assert (release.version, release.source) == ("8.10", OsSource.IMAGE)
    assert "8-lvm-gen2" in release.reason
    assert "'redhat 8.10'" in release.reason


@pytest.mark.parametrize(
    ("image", "guest"),
    [
        (
            ("MicrosoftWindowsServer", "WindowsServer", "2019-Datacenter"),
            ("Windows Server 2019 Datacenter", "10.0.17763"),
        ),
        (("microsoft-dsvm", "aml-workstation", "ubuntu"), ("ubuntu", "")),
    ],
)
def test_an_agent_that_adds_nothing_leaves_the_image_as_source(
    image: tuple[str, str, str], guest: tuple[str, str]
) -> None:
    reference = dict(zip(("publisher", "offer", "sku"), image, strict=True))
    release = identify(_vm(reference, guest=guest, os_type=""))
    assert (release.source, release.needs_agent) == (OsSource.IMAGE, False)


def test_an_old_agent_calls_opensuse_suse() -> None:
    image = {"publisher": "SUSE", "offer": "openSUSE-Leap", "sku": "15-2"}
    assert identify(_vm(image, guest=("suse", "15.2"))).distribution == "opensuse"


def test_an_unknown_image_says_what_would_settle_it() -> None:
    release = identify(_vm({"id": _GALLERY}))
    assert (release.distribution, release.source, release.os_type) == ("unknown", OsSource.NONE, OsType.LINUX)
    assert release.needs_agent
    assert "guest agent" in release.reason
    assert _GALLERY in release.reason


def test_a_vm_without_an_image_is_unknown() -> None:
    assert identify(_vm()).distribution == "unknown"


def test_a_gallery_identifier_is_a_hint_and_no_more() -> None:
    definition = ImageDefinition(identifier=ImageReference("x", "ubuntu", "16.04-LTS", kind=ImageKind.MARKETPLACE))
    release = identify(_vm({"id": _GALLERY}), definition=definition)
    assert release.distribution == "unknown"
    assert "has the identifier x:ubuntu:16.04-LTS, which is free text" in release.reason


@pytest.mark.parametrize("image", [_UBUNTU, _SILENT, None])
def test_a_windows_disk_is_windows_whatever_the_name_says(image: dict[str, str] | None) -> None:
    release = identify(_vm(image, os_type="Windows"))
    assert (release.distribution, release.os_type, release.source) == ("windows", OsType.WINDOWS, OsSource.DISK)
    assert release.needs_agent, "the disk does not tell which Windows"


def test_a_windows_name_on_a_linux_disk_is_not_believed() -> None:
    image = {"publisher": "contoso", "offer": "for-windows", "sku": "x"}
    release = identify(_vm(image, os_type="Linux"))
    assert (release.distribution, release.os_type) == ("unknown", OsType.LINUX)
    assert release.needs_agent


def test_the_definition_tells_the_os_type_where_the_vm_does_not() -> None:
    definition = read_definition({"properties": {"storageProfile": {"osDisk": {"osType": "Windows"}}}})
    assert identify(_vm({"id": "/x/images/y"}, os_type=""), definition=definition).distribution == "windows"


@pytest.mark.parametrize(
    ("size", "architecture"),
    [
        ("Standard_D2ps_v5", "arm64"),
        ("standard_D4plds_v6", "arm64"),
        ("Standard_B2pts_v2", "arm64"),
        ("Standard_D2s_v3", "x86_64"),
        ("Standard_NP10s", "x86_64"),
        ("Standard_A0", "x86_64"),
        ("", None),
    ],
)
def test_the_size_tells_the_architecture(size: str, architecture: str | None) -> None:
    assert identify(_vm(_UBUNTU, size=size)).architecture == architecture


def test_the_name_tells_the_architecture_before_the_size() -> None:
    image = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-arm64"}
    assert identify(_vm(image)).architecture == "arm64"


def test_an_override_comes_first() -> None:
    overrides = parse_overrides(
        {"images": [{"match": "*/galleries/golden/*", "distribution": "debian", "version": "8"}]}, "mine.yaml"
    )
    release = identify(_vm({"id": _GALLERY.upper()}, guest=("ubuntu", "20.04")), overrides)
    assert (release.distribution, release.version, release.source) == ("debian", "8", OsSource.OVERRIDE)
    assert "mine.yaml" in release.reason


@pytest.mark.parametrize("glob", ["/subscriptions/s/*/galleries/golden/images/base", "*/images/base/versions/1.0.0"])
def test_an_override_names_a_definition_or_one_of_its_versions(glob: str) -> None:
    overrides = parse_overrides({"images": [{"match": glob, "distribution": "rhel", "version": "7"}]}, "mine.yaml")
    assert identify(_vm({"id": _GALLERY}), overrides).distribution == "rhel"


def test_an_override_by_name_does_not_reach_a_gallerys_free_text() -> None:
    overrides = parse_overrides({"images": [{"match": "Canonical:*", "distribution": "ubuntu"}]}, "mine.yaml")
    definition = read_definition({"properties": {"identifier": {"publisher": "Canonical", "offer": "x", "sku": "y"}}})
    assert identify(_vm({"id": _GALLERY}), overrides, definition).distribution == "unknown"


def test_an_override_for_another_image_does_not_apply() -> None:
    overrides = parse_overrides({"images": [{"match": "*/galleries/other/*", "distribution": "debian"}]}, "mine.yaml")
    assert identify(_vm(_UBUNTU), overrides) == identify(_vm(_UBUNTU), NO_OVERRIDES)


def test_an_override_can_teach_a_marketplace_name() -> None:
    overrides = parse_overrides(
        {"images": [{"match": "Fortinet:*:fortinet_fg-vm", "distribution": "other", "architecture": "x86_64"}]}, "o"
    )
    assert identify(_vm(_SILENT), overrides).distribution == "other"


def test_an_override_can_believe_a_gallery() -> None:
    overrides = parse_overrides({"images": [{"match": "*/galleries/golden/*", "believeIdentifier": True}]}, "o.yaml")
    honest = read_definition({"properties": {"identifier": {"publisher": "me", "offer": "ubuntu", "sku": "16.04"}}})
    mute = read_definition({"properties": {"identifier": {"publisher": "JavaSDKTeam", "offer": "JDK", "sku": "11"}}})
    release = identify(_vm({"id": _GALLERY}), overrides, honest)
    assert (release.distribution, release.version, release.source) == ("ubuntu", "16.04", OsSource.OVERRIDE)
    assert identify(_vm({"id": _GALLERY}), overrides, mute).distribution == "unknown"
    assert identify(_vm({"id": _GALLERY}), overrides).distribution == "unknown"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (None, r"^null is not an override file \(o\.yaml\); write a mapping with the keys images"),
        ({"rules": []}, r"^missing key 'images' in an override file \(o\.yaml: images\); add `images:` and a list"),
        ({"images": "x"}, r"^'x' is not a list \(o\.yaml: images\); write `- {match: …, distribution: …"),
        ({"images": ["x"]}, r"^'x' is not an override \(o\.yaml: images\[0\]\); write a mapping"),
        (
            {"images": [{"match": "x", "distribution": "plan9"}]},
            r"^unknown distribution 'plan9' \(o\.yaml: images\[0\]\.distribution\); known distributions: ubuntu",
        ),
        (
            {"images": [{"match": "x", "distribution": "rhel", "version": 8.1}]},
            r"^8\.1 is not a text \(o\.yaml: images\[0\]\.version\); put it in quotes",
        ),
        (
            {"images": [{"match": "x", "distribution": "rhel", "architecture": "z80"}]},
            r"^unknown architecture 'z80' \(o\.yaml: images\[0\]\.architecture\); known architectures: arm64, x86_64",
        ),
        (
            {"images": [{"match": "x", "distro": "rhel"}]},
            r"^unknown key 'distro' in an override \(o\.yaml: images\[0\]\.distro\); known keys: match, distribution",
        ),
        (
            {"images": [{"distribution": "rhel"}]},
            r"^missing key 'match' in an override \(o\.yaml: images\[0\]\.match\); add `match:` and a pattern",
        ),
        ({"images": [{"match": " "}]}, r"^key 'match' is empty \(o\.yaml: images\[0\]\.match\); write"),
        (
            {"images": [{"match": "x"}]},
            r"^missing key 'distribution' in an override \(o\.yaml: images\[0\]\.distribution\); known distributions:",
        ),
    ],
)
def test_a_wrong_override_is_named(raw: object, place: str) -> None:
    with pytest.raises(ConfigurationError, match=place):
        parse_overrides(raw, "o.yaml")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_no_vm_makes_it_raise(publisher: str, offer: str, sku: str, os_name: str, os_version: str) -> None:
    image = {"publisher": publisher, "offer": offer, "sku": sku}
    release = identify(_vm(image, guest=(os_name, os_version)))
    assert release.reason
    assert release_of_image(ImageReference(publisher, offer, sku, kind=ImageKind.MARKETPLACE)).reason


@given(json_values, json_values)
def test_no_definition_makes_it_raise(properties: object, identifier: object) -> None:
    assert read_definition({"properties": properties}) == read_definition({"properties": properties})
    definition = read_definition({"properties": {"identifier": identifier, "osType": properties}})
    assert identify(_vm({"id": _GALLERY}), definition=definition).reason
