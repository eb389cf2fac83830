"""No secret gets past `mask`, what is not secret stays readable, and `cut` keeps both ends."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.masking import cut, mask
from onboarding.domain.secret import MASK, Secret
from onboarding.settings import read_settings

KEYS = st.binary(min_size=64, max_size=64).map(lambda raw: base64.b64encode(raw).decode())
WORDS = st.text(alphabet=st.characters(categories=["L", "Zs", "Po"]), max_size=40)
KEY = base64.b64encode(bytes(range(150, 214))).decode()


@given(KEYS, WORDS, WORDS)
def test_a_workspace_key_is_masked_wherever_it_stands(key: str, before: str, after: str) -> None:
    assert key not in mask(f"{before} {key} {after}")
    assert key not in mask(json.dumps({"workspaceKey": key, "text": f"-s {key}"}))


@given(KEYS)
def test_a_workspace_key_is_masked_as_json_and_urls_spell_it(key: str) -> None:
    for spelled in (
        key.replace("/", "\\/"),
        key.replace("+", "\\u002B").replace("=", "\\u003d"),
        key.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    ):
        assert spelled[:24] not in mask(f"key: {spelled}.")


@given(st.text())
def test_masking_a_second_time_changes_nothing(text: str) -> None:
    assert mask(mask(text)) == mask(text)


SECRETS = [
    (f"omsadmin.sh -w 0000 -s {KEY} -p x", KEY),
    ("Authorization: Bearer 0123456789abcdef", "0123456789abcdef"),
    ("token eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl here", "eyJzdWIiOiJ4In0"),
    ("proxy http://user:pa55word@proxy:8080/ refused", "pa55word"),
    ("proxy user:p/a:ss@proxy:8080", "p/a:ss"),
    ("https://a.blob.core.windows.net/x?sv=2022&sig=abc%2Fdef%3D&se=1", "abc%2Fdef"),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=x", "c2VjcmV0"),
    ("Endpoint=sb://x;SharedAccessKey=c2VjcmV0", "c2VjcmV0"),
    ('{"workspaceKey": "short", "proxy": "p"}', "short"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ("client_secret=abc~def&grant_type=x", "abc~def"),
    (f"unpadded {KEY[:-2]} at the end", KEY[:-2]),
    (f"escaped\\n{KEY}", KEY),
    (f"key%3D{KEY}&x=1", KEY),
    (f"key: \\u0022{KEY}\\u0022", KEY),
    ("omsadmin.sh -p hunter22 -w x", "hunter22"),
    ("curl --proxy-password x", " x"),
    ("install --workspace-key=abc", "abc"),
    ("the password hunter22 was refused", "hunter22"),
    ("password is p4ssw0rd!", "p4ssw0rd!"),
    ("asked for by user:pw12345 proxy refused", "pw12345"),
    ("proxy http://user:p@ss-W0rd/xyz@proxy:8080", "ss-W0rd/xyz"),
    ("proxy http://user:my pass word@proxy:8080", "pass word"),
    (f"url-safe {KEY.replace('+', '-').replace('/', '_')}", KEY[:20].replace("+", "-").replace("/", "_")),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_of_every_kind_are_masked(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in mask(text)
    assert MASK in mask(text)


READABLE = [
    "/subscriptions/00000000-0000-0000-0000-0000000000aa/resourceGroups/RG-01/providers/Microsoft.Compute/virtualMachines/vm",
    "/resourceGroups/rg/virtualMachines/vm01/extensions/OMSExtension/and/ManyMoreCamelCaseSegments",
    "The client '00000000-0000-0000-0000-0000000000aa' does not have authorization",
    "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux-1.13.29 Install,failed,51",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "a-resource-group-with-a-very-long-name-for-production-in-west-europe-001",
    "2022/04/05 12:56:36 user@host:/var/log and a: b@c",
    "mkdir -p /opt/x1234 and ssh -p 2222 host, through -p proxy01:8080 or -p http://proxy01:8080",
    "the option --password is required, the password is wrong, password authentication failed for user",
    "status:failed proxy unreachable; see http://status.test/health and write to someone@example.com",
]


@pytest.mark.parametrize("text", READABLE)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert mask(text) == text


def test_a_secret_that_is_held_is_masked_by_its_value_from_then_on() -> None:
    value = "correct horse battery staple"
    text = f"login failed: {value.encode().hex()}, that is\n{value[:18]}\n{value[18:]}!"
    assert mask(text) == text
    Secret(value)
    assert mask(text) == "login failed: ***, that is\n***!"


def test_of_a_connection_string_the_key_alone_is_secret() -> None:
    key = "c2VjcmV0IG9mIGEgc3RvcmFnZQ=="
    connection = f"AccountName=myonlyaccount;AccountKey={key};EndpointSuffix=core.windows.net"
    read_settings({"AzureWebJobsStorage": connection})
    text = f"https://myonlyaccount.table.core.windows.net refused: {key.encode().hex()}"
    assert mask(text) == "https://myonlyaccount.table.core.windows.net refused: ***"


@pytest.mark.parametrize("name", ["AZURE_CLIENT_SECRET", "OUTCOME_TOPIC_KEY", "IDENTITY_HEADER"])
def test_what_the_process_is_given_is_masked_too(name: str) -> None:
    value = f"{name.lower().replace('_', '~')}~of~the~process"
    read_settings({name: value})
    assert mask(value.encode().hex()) == "***"


@given(st.text(max_size=400), st.integers(0, 300))
def test_a_cut_text_is_within_its_limit_and_keeps_both_ends(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= limit or short == text
    if len(text) > limit > 100:
        assert short[:20] == text[:20]
        assert short[-20:] == text[-20:]
        assert f"{len(text):,} characters" in short


def test_a_text_within_the_limit_is_untouched() -> None:
    assert cut("x" * 8192) == "x" * 8192
