"""The releases of Windows: in names, in guest agents' reports, in what people write, and their order."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.image.os_release import Distribution
from onboarding.domain.image.windows_releases import parse_releases
from onboarding.loading.package_data import image_grammar, windows_releases

WINDOWS = windows_releases()

# publisher:offer:sku = release; nothing where the names tell none.
NAMES = """
MicrosoftWindowsServer:WindowsServer:2008-R2-SP1 = Server 2008 R2
MicrosoftWindowsServer:WindowsServer:2008-R2-SP1-smalldisk = Server 2008 R2
MicrosoftWindowsServer:WindowsServer:2012-Datacenter = Server 2012
MicrosoftWindowsServer:WindowsServer:2012-datacenter-smalldisk-g2 = Server 2012
MicrosoftWindowsServer:WindowsServer:2012-R2-Datacenter = Server 2012 R2
MicrosoftWindowsServer:WindowsServer:2012-r2-datacenter-smalldisk-g2 = Server 2012 R2
MicrosoftWindowsServer:WindowsServer:2016-Datacenter-Server-Core-smalldisk = Server 2016
MicrosoftWindowsServer:WindowsServer:2016-Datacenter-with-RDSH = Server 2016
MicrosoftWindowsServer:WindowsServer:2016-Nano-Server =
MicrosoftWindowsServer:WindowsServer:2019-datacenter-gensecond = Server 2019
MicrosoftWindowsServer:WindowsServer:2019-Datacenter-zhcn = Server 2019
MicrosoftWindowsServer:windowsserver-gen2preview:2019-datacenter-gen2 = Server 2019
MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition-core = Server 2022
MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition-hotpatch-smalldisk = Server 2022
MicrosoftWindowsServer:WindowsServer:2025-datacenter-azure-edition = Server 2025
MicrosoftWindowsServer:WindowsServer:23h2-datacenter-core-g2 = Server 23H2
MicrosoftWindowsServer:WindowsServer:datacenter-core-20h2-with-containers-smalldisk-gs = Server 20H2
MicrosoftWindowsServer:WindowsServer:datacenter-core-2004-with-containers-smalldisk = Server 2004
MicrosoftWindowsServer:WindowsServerSemiAnnual:Datacenter-Core-1709-smalldisk = Server 1709
MicrosoftWindowsServer:WindowsServer-HUB:2012-R2-Datacenter-HUB = Server 2012 R2
MicrosoftWindowsServer:microsoftserveroperatingsystems-previews:windows-server-2022-azure-edition-preview = Server 2022
MicrosoftWindowsServer:microsoftserveroperatingsystems-previews:windows-server-vnext-azure-edition =
microsoftwindowsserver:windowsserver:RDSH-Office365P =
MicrosoftWindowsDesktop:Windows-10:20h2-pro-zh-cn = 10 20H2
MicrosoftWindowsDesktop:Windows-10:20h1-pron = 10 2004
MicrosoftWindowsDesktop:Windows-10:19h2-pron-g2 = 10 1909
MicrosoftWindowsDesktop:Windows-10:RS3-Pro = 10 1709
MicrosoftWindowsDesktop:Windows-10:rs5-evd = 10 1809
MicrosoftWindowsDesktop:Windows-10:win10-21h2-pro = 10 21H2
MicrosoftWindowsDesktop:windows-10ent-cpc:20h1-ent-cpc-os = 10 2004
MicrosoftWindowsDesktop:windows-11:win11-23h2-ent = 11 23H2
MicrosoftWindowsDesktop:windows11preview-arm64:win11-24h2-pro = 11 24H2
MicrosoftWindowsDesktop:office-365:20h2-evd-o365pp = 10 20H2
MicrosoftWindowsDesktop:office-365:21h2-evd-o365pp =
MicrosoftWindowsDesktop:office-365:win11-22h2-avd-m365 = 11 22H2
MicrosoftWindowsDesktop:windows-ent-cpc:win11-23h2-ent-cpc-m365 = 11 23H2
MicrosoftWindowsDesktop:windows-7:win7-enterprise = 7
MicrosoftSQLServer:SQL2019-WS2019:Standard = Server 2019
MicrosoftSQLServer:sql2019-ws2022:sqldev-gen2 = Server 2022
MicrosoftSQLServer:SQL2014SP2-WS2012R2:Enterprise = Server 2012 R2
MicrosoftSQLServer:SQL2012SP4-WS2012:Enterprise = Server 2012
MicrosoftSQLServer:SQL2008R2SP3-WS2008R2SP1:Standard = Server 2008 R2
MicrosoftSQLServer:SQL2017-WS2016-BYOL:Standard = Server 2016
MicrosoftSQLServer:sql2022-ws2025:standard-gen2 = Server 2025
MicrosoftVisualStudio:VisualStudio:VS-2017-Comm-Latest-WS2016 = Server 2016
MicrosoftVisualStudio:visualstudio2019latest:vs-2019-comm-latest-ws2019 = Server 2019
MicrosoftVisualStudio:visualstudio2022:vs-2022-comm-latest-win11-n-gen2 = 11
MicrosoftVisualStudio:visualstudio:VS-2015-Comm-VSU3-AzureSDK-29-W10T-N-x64 = 10
MicrosoftVisualStudio:visualstudio:VS-2015-Pro-AzureSDK-2.9-WS2012R2 = Server 2012 R2
MicrosoftVisualStudio:Windows:Windows-8.1-Enterprise-N-x64 = 8.1
MicrosoftVisualStudio:Windows:Windows-7-Enterprise-N-x64 = 7
MicrosoftSharePoint:MicrosoftSharePointServer:sp2019 =
MicrosoftBizTalkServer:BizTalk-Server:2013-R2-Enterprise =
MicrosoftWindowsServerHPCPack:WindowsServerHPCPack:2012R2 =
MicrosoftWindowsServerHPCPack:WindowsServerHPCPack:2016U1CN-WS2012R2-CN = Server 2012 R2
microsoft-dsvm:dsvm-win-2022:winserver-2022 = Server 2022
microsoft-dsvm:dsvm-windows:server-2016 = Server 2016
microsoft-dsvm:dsvm-win-2019:server-2019-g2 = Server 2019
microsoft-ads:windows-data-science-vm:windows2016 = Server 2016
microsoft-aks:aks-windows:2019-datacenter-core-smalldisk-2105 = Server 2019
microsoft-aks:aks-windows:2022-containerd = Server 2022
batch:rendering-windows2016:rendering = Server 2016
cncf-upstream:capi-windows:k8s-1dot18dot19-windows-2019 = Server 2019
center-for-internet-security-inc:cis-windows-server-2016-v1-0-0-l1:cis-ws2016-l1 = Server 2016
center-for-internet-security-inc:cis-windows-server:cis-windows-server2019-l1-gen1 = Server 2019
center-for-internet-security-inc:cis-win-2012-r2-l1:cis-win-2012-r2-l1 = Server 2012 R2
center-for-internet-security-inc:cis-windows-10-l1:cis-windows-10-l1 = 10
cognosys:razorc-iis8-win2012-r2:razorc-iis8-win2012-r2 = Server 2012 R2
cloud-infrastructure-services:wordpress-windows-2019:wordpress-windows-2019 = Server 2019
cloud-infrastructure-services:mysql-2016:mysql-v8-w2016 = Server 2016
cloud-infrastructure-services:sftp-2016:sftp-2016 =
contoso:golden:win16 = Server 2016
contoso:golden:Win19-Std = Server 2019
contoso:golden:win2k19 = Server 2019
contoso:golden:w2k22 = Server 2022
contoso:golden:w2k22-dc = Server 2022
contoso:golden:w2k12r2 = Server 2012 R2
contoso:golden:win2k8r2 = Server 2008 R2
contoso:golden:ws2019 = Server 2019
contoso:golden:ws19 = Server 2019
contoso:golden:ws12r2 = Server 2012 R2
contoso:golden:win12r2 = Server 2012 R2
contoso:golden:winsrv22 = Server 2022
contoso:golden:WinSvr2k16Std = Server 2016
contoso:golden:winserver-2025 = Server 2025
contoso:golden:windows_server_2019_hyperv = Server 2019
contoso:golden:Windows Server 2012 R2 Datacenter = Server 2012 R2
contoso:golden:windows-server-1809 = Server 1809
contoso:golden:sql-server-2019-win2022 = Server 2022
contoso:WindowsServer:2019 = Server 2019
contoso:windows-server:2022 = Server 2022
contoso:windows:11-23h2 = 11 23H2
contoso:golden:win11-1903 = 11
contoso:golden:windows11_24h2 = 11 24H2
contoso:golden:windows-10-ltsc-2019 = 10
contoso:golden:windows-server-std-2016 = Server 2016
contoso:golden:windows-server-2022-2024-01-15 = Server 2022
contoso:golden:win2019v3 = Server 2019
contoso:golden:win22h2 =
contoso:golden:windows-2012-r2-2019 =
contoso:golden:windows-2012-datacenter-r2 =
contoso:golden:windows-vm-2022-06-01 =
contoso:golden:windows-2022-06 =
contoso:golden:windows-20220601 =
contoso:golden:sql-server-2019-windows =
contoso:golden:tomcat-windows-10.1 =
contoso:golden:mysql-windows-8 =
contoso:windows-2019:windows-2022 =
contoso:golden:windows-2003 =
"""


def _cases(text: str) -> list[tuple[str, str]]:
    pairs = [line.partition("=")[::2] for line in text.strip().splitlines()]
    return [(name.strip(), release.strip()) for name, release in pairs]


@pytest.mark.parametrize(("urn", "release"), _cases(NAMES))
def test_a_name_tells_its_release_or_none(urn: str, release: str) -> None:
    publisher, offer, sku = urn.split(":")
    assert image_grammar().read(publisher, offer, sku).distribution is Distribution.WINDOWS
    assert WINDOWS.of_names(publisher, offer, sku) == release


@pytest.mark.parametrize("sku", ["win12", "awin16", "ws16tb", "darwin19", "win22.04", "aws2019x"])
def test_similar_names_are_not_windows(sku: str) -> None:
    assert image_grammar().read("contoso", "golden", sku).distribution is Distribution.UNKNOWN


# name | version = release
GUESTS = """
Windows Server 2019 Datacenter | 10.0.17763.1217 = Server 2019
Windows Server 2016 Datacenter | = Server 2016
Windows Server 2012 Datacenter | Microsoft Windows NT 6.2.9200.0 = Server 2012
Microsoft Windows Server 2012 R2 Standard | 6.3.9600 = Server 2012 R2
Windows Server 2008 R2 Enterprise | 6.1.7601 = Server 2008 R2
Windows Server® 2008 Standard | 6.0.6003 = Server 2008
Windows Server (R) 2008 Standard | = Server 2008
Windows Server 2022 Datacenter Azure Edition | 10.0.20348.587 = Server 2022
Windows Server 2025 Datacenter | 10.0.26100.1 = Server 2025
Windows Server 2025 Datacenter Preview | 10.0.26040.1 = Server 2025
Windows Server Datacenter | 10.0.19042.1 = Server 20H2
Windows Server Datacenter | 10.0.17763.1 =
Windows Server 2016 Datacenter | 10.0.17763 =
Windows Server 2008 R2 Enterprise | 6.0.6002 =
Windows 10 Enterprise for Virtual Desktops | 10.0.19045.3448 = 10 22H2
Windows 10 Enterprise multi-session | 10.0.19044 = 10 21H2
Windows 10 Pro | 10.0 (19045) = 10 22H2
Windows 10 Pro | = 10
Windows 10 Enterprise | 10.0.22631.2861 = 11 23H2
Windows 10 Enterprise | 10.0.27000.1 = 11
Windows 11 Enterprise | 10.0.26100.1 = 11 24H2
Windows 11 Pro | 10.0.19045 =
Windows 7 Enterprise | 6.1.7601 = 7
Windows 8.1 Pro | 6.3.9600 = 8.1
Windows | 10.0.22631 = 11 23H2
Windows | 10.0.17763 =
Windows | 10.0.20348 =
Windows Server 2019 Datacenter | 4.18 = Server 2019
Hyper-V Server 2019 | 10.0.17763 =
Azure Stack HCI | 10.0.20349 =
"""


@pytest.mark.parametrize(("report", "release"), _cases(GUESTS))
def test_a_report_tells_its_release_or_none(report: str, release: str) -> None:
    name, _, version = report.partition("|")
    assert WINDOWS.of_guest(name.strip(), version.strip()) == release


@pytest.mark.parametrize(
    ("written", "release"),
    [
        *[
            (text, "Server 2012 R2")
            for text in ("2012 R2", "2012R2", "2012-r2", "Server 2012 R2", "Windows Server 2012R2")
        ],
        *[(text, "10 22H2") for text in ("10 22H2", "10-22h2", "Windows 10 22H2", "Microsoft Windows 10 22h2")],
        ("1809", "Server 1809"),
        ("10 1809", "10 1809"),
        ("11", "11"),
        ("2018", ""),
        ("", ""),
    ],
)
def test_what_people_write_is_read(written: str, release: str) -> None:
    assert WINDOWS.named(written) == release


@pytest.mark.parametrize("release", WINDOWS.spans)
def test_every_release_is_found_by_its_own_name_and_by_its_title(release: str) -> None:
    assert WINDOWS.named(release) == release
    semiannual = release.startswith("Server ") and not release.startswith("Server 20")
    if not semiannual and release not in ("8", "Server 20H2"):
        assert WINDOWS.of_guest(f"Windows {release}", "") == release


@pytest.mark.parametrize(
    ("release", "least", "answer"),
    [
        ("Server 2012 R2", "Server 2012 R2", True),
        ("Server 2012", "Server 2012 R2", False),
        ("Server 1709", "Server 2016", True),
        ("Server 2016", "Server 1709", False),
        ("Server 1809", "Server 2019", True),
        ("Server 2025", "Server 2012", True),
        ("10 1607", "10 1809", False),
        ("10", "10 1809", None),
        ("10", "10 1507", True),
        ("11", "10 22H2", True),
        ("11", "11 24H2", None),
        ("8.1", "10", False),
        ("11", "Server 2008", False),
        ("Server 2025", "7", False),
    ],
)
def test_newer_is_decided_within_a_line(release: str, least: str, answer: bool | None) -> None:
    assert WINDOWS.at_least(release, least) is answer


releases = st.sampled_from(list(WINDOWS.spans))


@given(releases, releases, releases)
def test_the_order_is_an_order(one: str, two: str, three: str) -> None:
    assert WINDOWS.at_least(one, one) is not False
    if WINDOWS.at_least(one, two) and WINDOWS.at_least(two, three):
        assert WINDOWS.at_least(one, three)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_name_makes_it_raise(one: str, two: str, three: str) -> None:
    for release in (WINDOWS.of_names(one, two, three), WINDOWS.of_guest(f"Windows {one}", two), WINDOWS.named(three)):
        assert release in {"", *WINDOWS.spans}


@pytest.mark.parametrize(
    "part", ["windows-", "win", "server ", "2012-", "win2012-", "w", "datacenter-core-", "10.0. ", "r2-"]
)
def test_long_names_take_no_longer_than_their_length(part: str) -> None:
    text = part * 40_000
    started = time.process_time()
    WINDOWS.of_names("p", text, text)
    WINDOWS.of_guest(text, text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("raw", [{}, {"server": []}, {"server": {"a": []}, "client": {}}])
def test_bad_data_is_named(raw: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"^the Windows releases cannot be read: .*\(releases\.yaml\); follow"):
        parse_releases(raw, "releases.yaml")
