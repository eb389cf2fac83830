"""What publishers' names tell: one line a grammar rule, with names as they are published."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.image.image_grammar import Reading, parse_grammar
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.lazy_pattern import Pattern
from onboarding.loading.package_data import grammar_source, image_grammar

type Case = tuple[str, str, str | None]

# publisher:offer:sku distribution version
MAKERS = """
Canonical:0001-com-ubuntu-server-focal:20_04-lts ubuntu 20.04
Canonical:0001-com-ubuntu-server-focal-daily:20_04-daily-lts-gen2 ubuntu 20.04
Canonical:0001-com-ubuntu-server-eoan:19_10 ubuntu 19.10
Canonical:0003-com-ubuntu-minimal-eoan-daily:minimal-19_10-daily ubuntu 19.10
Canonical:0002-com-ubuntu-minimal-xenial-daily:minimal-16_04-daily-lts ubuntu 16.04
Canonical:0001-com-ubuntu-private-fips-bionic:fips-pro-18_04-private ubuntu 18.04
Canonical:test-ubuntu-premium-offer-0002:premium-20_04-lts ubuntu 20.04
Canonical:0001-com-ubuntu-confidential-vm-focal:20_04-lts-cvm ubuntu 20.04
Canonical:0001-com-ubuntu-pro-trusty:pro-14_04-lts ubuntu 14.04
Canonical:ubuntu-24_04-lts:server-arm64 ubuntu 24.04
Canonical:ubuntu-24_04-lts-daily:cvm ubuntu 24.04
Canonical:ubuntu-25_10:server ubuntu 25.10
Canonical:ubuntu-25_04-daily:minimal ubuntu 25.04
Canonical:0001-com-ubuntu-server-hirsute:21_04-gen2 ubuntu 21.04
Canonical:UbuntuServer:12.04.2-LTS ubuntu 12.04
Canonical:UbuntuServer:16.04-beta ubuntu 16.04
Canonical:UbuntuServer:16_04-daily-lts-gen2 ubuntu 16.04
Canonical:UbuntuServer:18_10-gen2 ubuntu 18.10
Canonical:UbuntuServer:17.10-DAILY ubuntu 17.10
Canonical:0001-com-ubuntu-advantage-sla-advanced:18_04 ubuntu 18.04
Canonical:ubuntu-pro-fips:pro-fips-18_04 ubuntu 18.04
Canonical:ubuntu-hpc-2204:2204 ubuntu 22.04
RedHat:RHEL:7.2 rhel 7.2
RedHat:RHEL:74-gen2 rhel 7.4
RedHat:RHEL:810-gen2 rhel 8.10
RedHat:RHEL:7-LVM rhel 7
RedHat:RHEL:7lvm-gen2 rhel 7
RedHat:RHEL:7-RAW-CI rhel 7
RedHat:RHEL:81gen2 rhel 8.1
RedHat:RHEL:8-BETA rhel 8
RedHat:RHEL:8 rhel 8
RedHat:RHEL:9_4 rhel 9.4
RedHat:RHEL:10_0 rhel 10.0
RedHat:RHEL:10-lvm-gen2 rhel 10
RedHat:RHEL:100-gen2 rhel 10.0
RedHat:RHEL:7.4-sap rhel 7.4
RedHat:RHEL-HA:81_gen2 rhel 8.1
RedHat:rhel-byos:rhel-lvm75 rhel 7.5
RedHat:rhel-byos:rhel-lvm-92-gen2 rhel 9.2
RedHat:rhel-byos:rhel-raw76 rhel 7.6
RedHat:rhel-byos:rhel-lvm8-gen2 rhel 8
RedHat:rhel-byos:rhel-lvm810 rhel 8.10
RedHat:rhel-raw:8-raw-gen2 rhel 8
RedHat:rhel-raw:9_2 rhel 9.2
RedHat:RHEL-SAP-APPS:90sapapps-gen2 rhel 9.0
RedHat:RHEL-SAP-HANA:6.7 rhel 6.7
RedHat:RHEL-SAP-HANA:7.2 rhel 7.2
RedHat:rhel-sap-byos:rhel-sap-8 rhel 8
RedHat:rhel-arm64:8_6-arm64 rhel 8.6
RedHat:rhel-arm64:9-lvm-arm64 rhel 9
RedHat:rhel-cvm:9_4_cvm rhel 9.4
RedHat:rhel-cvm:8_8_cvm rhel 8.8
RedHat:rhel-ocpmaster:osa_39 rhel None
RedHat:rh-jboss-eap:rh-jboss-eap74-rhel8 rhel 8
RedHat:jboss-eap72-rhel7:jboss-72-rhel-77-payg rhel 7.7
RedHat:jboss-ews-jws54-rhel8:jboss-54-rhel-80 rhel 8.0
RedHat:rh-rhel:rh-rhel9 rhel 9
SUSE:SLES:12-SP3 sles 12.3
SUSE:SLES:12-SP4-gen2 sles 12.4
SUSE:SLES-SAP:gen2-15 sles 15
SUSE:SLES-SAP-BYOS:gen2-12-sp4 sles 12.4
SUSE:sles-12-sp5-byos:gen2 sles 12.5
SUSE:sles-15-sp6-arm64:gen2 sles 15.6
SUSE:sle-hpc-15-sp4-byos:gen2 sles 15.4
SUSE:sles-16-0-x86-64:gen2 sles 16.0
SUSE:sles-sap-16-0-byos-x86-64:gen2 sles 16.0
SUSE:sles-15-sp4-sapcal:gen1 sles 15.4
SUSE:openSUSE-Leap:42.3 opensuse 42.3
SUSE:opensuse-leap-15-2:gen1 opensuse 15.2
SUSE:sle-micro-5-1-byos:gen2 unknown None
SUSE:SLES-Priority:12-SP2 sles 12.2
SUSE:SLES-HPC-Priority:12 sles 12
SUSE:SLES-Standard:12-SP4-gen2 sles 12.4
SUSE:suse-manager-proxy-4-byos:gen1 unknown None
OpenLogic:CentOS:6.5 centos 6.5
OpenLogic:CentOS:7.2n centos 7.2
OpenLogic:CentOS:8_4-gen2 centos 8.4
OpenLogic:CentOS-CI:7-CI centos 7
OpenLogic:CentOS-LVM:8-lvm-gen2 centos 8
OpenLogic:CentOS-HPC:6.5 centos 6.5
OpenLogic:CentOS-HPC:8_1-gen2 centos 8.1
OpenLogic:CentOS-SRIOV:7.5-SRIOV centos 7.5
OpenLogic:CentOS:8_5-arm64 centos 8.5
Oracle:Oracle-Linux:ol79-lvm-gen2 oracle 7.9
Oracle:Oracle-Linux:78-ci oracle 7.8
Oracle:Oracle-Linux:8 oracle 8
Oracle:Oracle-Linux:8-ci oracle 8
Oracle:Oracle-Linux:ol8_2-gen2 oracle 8.2
Oracle:Oracle-Linux:ol9-lvm oracle 9
Oracle:Oracle-Linux:ol94-arm64-lvm-gen2 oracle 9.4
Oracle:Oracle-Linux:6.10 oracle 6.10
Oracle:Oracle-Linux:ol10-lvm-gen2 oracle 10
Oracle:Oracle-Database-Ee:12.1.0.2 unknown None
Oracle:oracle-database-19-3:oracle-database-19-0904 unknown None
Oracle:Oracle-WebLogic-Server:Oracle-WebLogic-Server unknown None
Oracle:weblogic-141100-jdk11-ol76:owls-141100-jdk11-ol76 oracle 7.6
Oracle:weblogic-141100-jdk11-rhel76:owls-141100-jdk11-rhel76 rhel 7.6
credativ:Debian:8 debian 8
credativ:Debian:9-backports debian 9
credativ:Debian:10-DAILY debian 10
credativ:Debian:7 debian 7
Debian:debian-12:12-arm64 debian 12
Debian:debian-sid-daily:sid-gen2 debian None
Debian:debian-11-daily:11-backports-gen2 debian 11
cloudera:cloudera-centos-os:7_5 centos 7.5
cloudera:cloudera-centos-os:6_8 centos 6.8
cloudera:cloudera-centos-6:cloudera-centos-6 centos 6
almalinux:almalinux:8_4 almalinux 8.4
almalinux:almalinux-x86_64:9-gen2 almalinux 9
almalinux:almalinux-arm:9-arm-gen2 almalinux 9
almalinux:almalinux-hpc:8_10-hpc-gen1 almalinux 8.10
resf:rockylinux-x86_64:9-base rocky 9
resf:rockylinux-x86_64:8-lvm rocky 8
resf:rockylinux-aarch64:9-base rocky 9
erockyenterprisesoftwarefoundationinc1653071250513:rockylinux:free rocky None
erockyenterprisesoftwarefoundationinc1653071250513:rockylinux-9:rockylinux-9 rocky 9
kinvolk:flatcar-container-linux-free:stable-gen2 flatcar None
kinvolk:flatcar-container-linux-corevm-amd64:beta flatcar None
CoreOS:CoreOS:Alpha coreos None
microsoftcblmariner:cbl-mariner:cbl-mariner-2-arm64 azurelinux 2
microsoftcblmariner:azure-linux-3:azure-linux-3-gen2-fips azurelinux 3
microsoftcblmariner:cbl-mariner:1-gen2 azurelinux 1
MicrosoftOSTC:FreeBSD:10.3 freebsd 10.3
thefreebsdfoundation:freebsd-14_1:14_1-release-amd64-gen2-zfs freebsd 14.1
thefreebsdfoundation:freebsd-testing:12_1-release-p6-test freebsd 12.1
"""

OTHERS = """
MicrosoftSQLServer:SQL2017-RHEL73:SQLDEV rhel 7.3
MicrosoftSQLServer:sql2019-ubuntu2004:enterprise ubuntu 20.04
MicrosoftSQLServer:SQL2017-SLES12SP2:Express sles 12.2
MicrosoftSQLServer:SQL2017-Ubuntu1604:Web ubuntu 16.04
MicrosoftSQLServer:sql2019-ubuntupro2004:standard ubuntu 20.04
MicrosoftSQLServer:sql2019-sles12sp5:sqldev sles 12.5
MicrosoftSQLServer:sql2022-rhel86:web rhel 8.6
MicrosoftSQLServer:SQL2019-WS2019:Standard windows None
MicrosoftSQLServer:SQL2014SP2-WS2012R2:Enterprise windows None
MicrosoftRServer:RServer-WS2016:Enterprise windows None
MicrosoftRServer:RServer-Ubuntu:Enterprise ubuntu None
MicrosoftRServer:RServer-CentOS:Enterprise centos None
microsoft-dsvm:ubuntu-hpc:2004-preview-ndv5 ubuntu 20.04
microsoft-dsvm:ubuntu-1804:1804-gen2 ubuntu 18.04
microsoft-dsvm:aml-workstation:ubuntu-20 ubuntu 20.04
microsoft-dsvm:aml-workstation:ubuntu ubuntu None
microsoft-dsvm:dsvm-windows:server-2016 windows None
microsoft-dsvm:dsvm-win-2022:winserver-2022 windows None
microsoft-ads:linux-data-science-vm:linuxdsvm unknown None
microsoft-ads:standard-data-science-vm:standard-data-science-vm windows None
microsoft-ads:windows-data-science-vm:windows2016 windows None
microsoft-aks:aks-windows:2019-datacenter-core-smalldisk-2105 windows None
microsoft-aks:aks:aks-ubuntu-1604-docker-engine ubuntu 16.04
microsoft-aks:aks:aks-engine-ubuntu-1804-202112 ubuntu 18.04
center-for-internet-security-inc:cis-rhel-7-v2-2-0-l1:cis-rhel7-l1 rhel 7
center-for-internet-security-inc:cis-rhel:cis-redhat9-l2-gen2 rhel 9
center-for-internet-security-inc:cis-oracle-linux-8-l1:cis-oracle8-l1 oracle 8
center-for-internet-security-inc:cis-oracle:cis-oraclelinux9-l1-gen1 oracle 9
center-for-internet-security-inc:cis-suse-linux-12-v2-0-0-l1:cis-suse12-l1 sles 12
center-for-internet-security-inc:cis-debian-linux-8-l1:cis-debian8-l1 debian 8
center-for-internet-security-inc:cis-windows-server-2016-v1-0-0-l1:cis-ws2016-l1 windows None
center-for-internet-security-inc:cis-win-2019-stig:cis-win-2019-stig windows None
center-for-internet-security-inc:cis-centos-7-v2-1-1-l1:cis-centos7-l1 centos 7
center-for-internet-security-inc:cis-centos-8-l1:cis-centos8-l1 centos 8
center-for-internet-security-inc:cis-nginx-centos-7-v1-1-0-l1:cis-nginx-centos-7-v1-1-0-l1 centos 7
center-for-internet-security-inc:cis-ubuntu:cis-ubuntulinux2204-l1-gen2 ubuntu 22.04
center-for-internet-security-inc:cis-postgresql-11-centos-linux-7-level-1:postgresql-11-centos-linux-7 centos 7
center-for-internet-security-inc:cis-rhel9-l1:cis-rhel9-l1-gen2 rhel 9
cncf-upstream:capi:ubuntu-2204-gen1 ubuntu 22.04
cncf-upstream:capi-windows:k8s-1dot18dot19-windows-2019 windows None
nvidia:nvidia-gpu-cloud:ngc-image-18_06 unknown None
nvidia:ngc_azure_17_11:ngc-base-version-20-10-1 unknown None
7isolutions:sapp:sapp1510-ubuntu1404 ubuntu 14.04
azureopenshift:azureredhatopenshift:aro_311 unknown None
cognosys:prestashop-with-ubutnu-server-20-04-lts:prestashop-with-ubutnu-server-20-04-lts ubuntu 20.04
cognosys:python-3-with-redhat-8:python-3-with-redhat-8 rhel 8
cognosys:razorc-iis8-win2012-r2:razorc-iis8-win2012-r2 windows None
cognosys:sec1011-dokuwiki-on-ubuntu-1404:new-dokuwiki-on-hardened-ubuntu-1404-pro-lic ubuntu 14.04
cloudrichness:rockey_linux_image:rockylinux86 rocky 8.6
ntegralinc1586961136942:ntg_oracle_8_7:ntg_oracle_8_7 oracle 8.7
ntegralinc1586961136942:ntg_cbl_mariner_2:ntg_cbl_mariner_2_gen2 azurelinux 2
ntegralinc1586961136942:ntg_windows_datacenter_2019:ntg_windows_server_2019 windows None
procomputers:rhel-8-8-gen2:rhel-8-8-gen2 rhel 8.8
kali-linux:kali:kali-2024-3 other None
test_test_pmc2pc1:sigtest-tu-w2016-gen12-wdd-sig:skugen2 windows None
tenable:tenablecorenessus:tenablecorenessusbyol unknown None
cloud-infrastructure-services:sftp-2016:sftp-2016 windows None
cloud-infrastructure-services:dns-ubuntu-2004:dns-ubuntu-2004 ubuntu 20.04
filemagellc:filemage-gateway-vm-win:filemage-gateway-vm-win-001 windows None
docker:docker4azure-cs:docker4azure-cs-1_12 unknown None
openvpn:openvpnas:access_server_byol unknown None
cloud-infrastructure-services:ftp-server-solution:ftp-server-2019 windows None
cloud-infrastructure-services:mysql-2016:mysql-v8-w2016 windows None
cloud-infrastructure-services:mariadb-ubuntu-20-04:mariadb-ubuntu-20-04 ubuntu 20.04
vmlabinc1613642184700:postgresql:postgresql94-ubuntu ubuntu None
vmlabinc1613642184700:redis:redis60-centos centos None
"""

# Names that look like a distribution or a version and are neither.
TRAPS = """
contoso:byol7:pool8 unknown None
contoso:stone-protocol7:control9 unknown None
contoso:darwin-2016:twin-2019 unknown None
contoso:el7-app:el7 unknown None
contoso:centos-64bit:centos-64bit centos None
contoso:ubuntu-app:release-2016 ubuntu None
contoso:suse-manager-like:opensuse-leap opensuse None
contoso:hapee-centos:1_9r1 centos None
contoso:centos-with-php-7-4:centos-with-php-7-4 centos None
contoso:openjdk-8-on-centos:openjdk-8-on-centos centos None
contoso:ubuntu-or-centos:ubuntu-or-centos unknown None
contoso:centos-7:centos-8 centos None
contoso:ubuntu-16-04:debian-9 debian 9
"""


def _read(urn: str) -> Reading:
    publisher, offer, sku = urn.split(":")
    return image_grammar().read(publisher, offer, sku)


def _cases(*texts: str) -> list[Case]:
    lines = (line.rsplit(" ", 2) for text in texts for line in text.strip().splitlines())
    return [(urn, distribution, None if version == "None" else version) for urn, distribution, version in lines]


def _misread(cases: list[Case], suffix: str = "") -> list[str]:
    """Every name that is read as something else, with what it is read as."""
    found = ((urn + suffix, (distribution, version), _read(urn + suffix)) for urn, distribution, version in cases)
    answers = ((name, wanted, (reading.distribution, reading.version)) for name, wanted, reading in found)
    return [f"{name} is {wanted}, and is read as {read}" for name, wanted, read in answers if read != wanted]


@pytest.mark.parametrize("text", [MAKERS, OTHERS, TRAPS], ids=["makers", "others", "traps"])
def test_published_names_are_read(text: str) -> None:
    misread = _misread(_cases(text))
    assert not misread, "\n".join(misread)


@pytest.mark.parametrize("suffix", ["-gen2", "-arm64", "-daily", "-gen2-daily"])
def test_a_suffix_changes_nothing(suffix: str) -> None:
    misread = _misread(_cases(MAKERS, OTHERS), suffix)
    assert not misread, "\n".join(misread)


@pytest.mark.parametrize(
    ("urn", "architecture"),
    [
        ("OpenLogic:CentOS:7_9-arm64", "arm64"),
        ("almalinux:almalinux-arm:9-arm-gen2", "arm64"),
        ("resf:rockylinux-aarch64:9-base", "arm64"),
        ("SUSE:sles-15-sp4-arm64:gen2", "arm64"),
        ("almalinux:almalinux-x86_64:9-gen2", "x86_64"),
        ("contoso:debian10-x64:hourly", "x86_64"),
        ("Canonical:UbuntuServer:16.04-LTS", None),
        ("contoso:charm:farm", None),
    ],
)
def test_names_tell_the_architecture(urn: str, architecture: str | None) -> None:
    assert _read(urn).architecture == architecture


def test_a_withheld_answer_says_why() -> None:
    assert _read("contoso:ubuntu-or-centos:x").doubt == "the name contains centos and ubuntu"
    assert _read("contoso:centos-7:centos-8").doubt == "the names contain both version 8 and 7"
    assert "do not say which OS" in _read("SUSE:SUSE-Manager-Server-BYOS:3.0").doubt


TWO_VERSIONS = """
ubuntu-16.04-and-18.04
ubuntu-16-to-18-migration
xenial-to-18
agent-ubuntu1604-0.1-20.04
rhel7-to-8-leapp
centos-7-to-8
sles12-to-15
"""


@pytest.mark.parametrize("sku", TWO_VERSIONS.split())
def test_a_name_that_tells_two_versions_of_one_system_tells_none(sku: str) -> None:
    reading = _read(f"contoso:golden:{sku}")
    assert reading.version is None
    assert reading.doubt.startswith("the names contain both version")


ONE_VERSION = """
ubuntu-16.04-build-2021.10.04
ubuntu1604-20-04-2021
ubuntu-1604-v1.16.10
ubuntu-16.04-16.04.20210101
ubuntu-16.04-to-azure
tomcat-8-to-9-ubuntu-1604
"""


@pytest.mark.parametrize("sku", ONE_VERSION.split())
def test_a_date_a_build_or_another_product_is_no_second_version(sku: str) -> None:
    assert _read(f"contoso:golden:{sku}").version == "16.04"


def test_ubuntu_core_is_no_ubuntu_with_packages() -> None:
    assert _read("contoso:golden:ubuntu-core-16").distribution is Distribution.OTHER


names = st.text(max_size=60) | st.text(alphabet=string.ascii_letters + string.digits + "-_.", max_size=60)
known_words = st.sampled_from([urn for urn, _, _ in _cases(MAKERS, OTHERS, TRAPS)])


@given(names, names, names)
def test_no_name_makes_it_raise_and_case_means_nothing(publisher: str, offer: str, sku: str) -> None:
    grammar = image_grammar()
    reading = grammar.read(publisher, offer, sku)
    assert reading.distribution in Distribution
    if publisher.isascii() and offer.isascii() and sku.isascii():
        assert grammar.read(publisher.upper(), offer.upper(), sku.upper()) == reading


@given(known_words, st.sampled_from(["-gen2", "-arm64", "-daily"]), st.integers(1, 3))
def test_suffixes_are_idempotent(urn: str, suffix: str, times: int) -> None:
    run_event, often = _read(urn + suffix), _read(urn + suffix * times)
    assert (run_event.distribution, run_event.version) == (often.distribution, often.version)


@pytest.mark.parametrize(
    "text",
    [
        "ubuntu-server" * 4000,
        "-" * 50_000,
        "7" * 50_000,
        "sap" * 9000,
        "12-sp" * 9000,
        "eighteen-" * 6000,
        "focal-" * 9000,
        "16-04-" * 9000,
        "7" + "gen2-lvm" * 9000,
        "7" + "-a" * 20_000,
    ],
)
@pytest.mark.parametrize("publisher", ["RedHat", "SUSE", "Canonical", "contoso"])
def test_a_very_long_name_is_no_burden(publisher: str, text: str) -> None:
    assert image_grammar().read(publisher, f"sles{text}", text).distribution in Distribution


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"distributions": {"plan9": {}}, "publishers": {}, "architectures": {}, "endings": []},
        {**grammar_source(), "publishers": {"x": [{"is": "plan9"}]}},
    ],
)
def test_a_broken_grammar_is_named(broken: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"^the image grammar cannot be read: .*\(mine\.yaml\); follow"):
        parse_grammar(broken, "mine.yaml")


def test_every_expression_of_the_grammar_compiles() -> None:
    found = list(_expressions(image_grammar()))
    assert len(found) > 100
    for expression in found:
        expression.compiled()


def _expressions(value: object) -> Iterator[Pattern]:
    if isinstance(value, Pattern):
        yield value
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from _expressions(getattr(value, name))
    elif isinstance(value, (Mapping, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _expressions(item)
