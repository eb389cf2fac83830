"""Who may see the page and who may act: forged, cut and foreign headers are refused, whatever else they say."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.web.access import OPERATOR, READER, Person, Refusal, cross_site, who
from tests.web.page_world import LAPTOP, OTHER, PERSON

AZURE = {"WEBSITE_INSTANCE_ID": "instance", "WEBSITE_AUTH_ENABLED": "True"}
OID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
ROLE = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"


_OPERATES = {"typ": "roles", "val": OPERATOR}


def principal(*roles: str, oid: str = OID, role: str = "roles", **changes: Any) -> dict[str, str]:
    claims = [{"typ": oid, "val": PERSON}, *({"typ": role, "val": each} for each in roles)]
    body = {"auth_typ": "aad", "claims": claims, "name_typ": "name", "role_typ": role, **changes}
    return {"x-ms-client-principal": b64encode(json.dumps(body).encode()).decode(), "host": "app.example"}


@pytest.mark.parametrize("role", ["roles", ROLE, "custom-role-claim"])
@pytest.mark.parametrize("oid", [OID, "oid"])
def test_a_person_with_a_role_is_known(role: str, oid: str) -> None:
    assert who(AZURE, principal(READER, role=role, oid=oid)) == Person(PERSON, frozenset({READER}))


@pytest.mark.parametrize(("roles", "acts"), [((READER,), False), ((OPERATOR,), True), ((READER, OPERATOR, "x"), True)])
def test_an_operator_may_act_and_a_reader_may_not(roles: tuple[str, ...], acts: bool) -> None:
    person = who(AZURE, principal(*roles))
    assert isinstance(person, Person)
    assert (person.may_read, person.may_act) == (True, acts)


@pytest.mark.parametrize("roles", [(), ("Onboarding.reader",), ("Owner", "Onboarding.Readers")])
def test_without_a_role_nothing_is_shown_and_the_role_is_named(roles: tuple[str, ...]) -> None:
    refusal = who(AZURE, principal(*roles))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 403
    assert READER in refusal.reason


@pytest.mark.parametrize(
    "auth", [{}, {"WEBSITE_AUTH_ENABLED": ""}, {"WEBSITE_AUTH_ENABLED": "False"}, {"WEBSITE_AUTH_ENABLED": "yes"}]
)
def test_a_forged_principal_counts_for_nothing_while_authentication_is_off(auth: dict[str, str]) -> None:
    refusal = who({"WEBSITE_INSTANCE_ID": "instance", **auth, **LAPTOP}, {**principal(OPERATOR), "host": "localhost"})
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    assert "authentication is off" in refusal.reason


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ms-client-principal": ""},
        {"x-ms-client-principal": "not base64!"},
        {"x-ms-client-principal": b64encode(b"not JSON").decode()},
        {"x-ms-client-principal": b64encode(b"[]").decode()},
        {"x-ms-client-principal": b64encode(b'{"auth_typ": "aad", "claims": "all"}').decode()},
        {"x-ms-client-principal": b64encode(b"[" * 100_000).decode()},
        {"x-ms-client-principal": b64encode(b"[" * 40_000).decode()},
        {"x-ms-client-principal-id": PERSON, "x-ms-client-principal-name": "somebody"},
        principal(OPERATOR, auth_typ="github"),
        principal(OPERATOR, claims=[{"typ": "roles", "val": OPERATOR}]),
        principal(OPERATOR, claims=["roles", None, 7]),
        principal(OPERATOR, claims=[{"typ": ["oid"], "val": PERSON}, {"typ": {}, "val": []}]),
        principal(OPERATOR, claims=[_OPERATES, {"typ": "oid", "val": ""}]),
        principal(OPERATOR, claims=[_OPERATES, {"typ": "oid"}]),
        principal(OPERATOR, claims=[_OPERATES, {"typ": "oid", "val": "<script>"}]),
        principal(OPERATOR, claims=[_OPERATES, {"typ": "oid", "val": PERSON}, {"typ": OID, "val": OTHER}]),
    ],
)
def test_what_names_nobody_has_to_sign_in(headers: dict[str, str]) -> None:
    refusal = who(AZURE, headers)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.sign_in) == (401, True)


@given(st.text() | st.binary().map(lambda content: b64encode(content).decode()))
def test_no_header_breaks_it(header: str) -> None:
    assert isinstance(who(AZURE, {"x-ms-client-principal": header}), Refusal)


@given(
    st.dictionaries(
        st.sampled_from(["auth_typ", "claims", "role_typ", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_no_principal_breaks_it(body: dict[str, Any]) -> None:
    header = b64encode(json.dumps(body).encode()).decode()
    found = who(AZURE, {"x-ms-client-principal": header})
    assert isinstance(found, Refusal) or found.may_read


@pytest.mark.parametrize("host", ["localhost", "localhost:7071", "127.0.0.1:80", "[::1]:7071", "127.3.2.1"])
def test_a_laptop_answers_at_a_loopback_address(host: str) -> None:
    person = who(LAPTOP, {"host": host})
    assert isinstance(person, Person)
    assert (person.object_id, person.may_act) == ("", True)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "192.168.1.7:7071"},
        {"host": "laptop.local"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"host": "["},
        {},
        {"host": "localhost", "x-forwarded-for": "203.0.113.9"},
        {"host": "localhost", "x-forwarded-host": "evil.example"},
    ],
)
def test_a_laptop_does_not_answer_at_another_address(headers: dict[str, str]) -> None:
    refusal = who(LAPTOP, {**principal(OPERATOR), "host": "", **headers})
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503


def test_where_it_is_not_known_where_the_app_runs_the_page_is_closed() -> None:
    refusal = who({}, {"host": "localhost"})
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    assert "AZURE_FUNCTIONS_ENVIRONMENT" in refusal.fix


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "https://app.example"},
        {"origin": "https://app.example"},
        {"origin": "https://APP.example"},
        {"origin": "http://localhost:7071", "host": "localhost:7071"},
    ],
)
def test_a_form_of_the_page_itself_passes(headers: dict[str, str]) -> None:
    assert cross_site({"host": "app.example", **headers}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "https://app.example"},
        {"sec-fetch-site": "none", "origin": "https://app.example"},
        {"sec-fetch-site": "", "origin": "https://app.example"},
        {"sec-fetch-site": "same-origin, cross-site"},
        {"origin": "null"},
        {"origin": "https://app.example.evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "https://app.example:8443"},
        {"origin": "https://app.example/path"},
        {"origin": "app.example"},
        {"origin": "https://["},
        {"origin": "https://app.example#part"},
        {"origin": "https://app.example?"},
        {"origin": "https:\t//app.example"},
        {"origin": "https://app.example, https://evil.example"},
        {"origin": "https://", "host": ""},
        {"referer": "https://app.example/api/ui"},
    ],
)
def test_a_form_of_another_site_does_not_pass(headers: dict[str, str]) -> None:
    refusal = cross_site({"host": "app.example", **headers})
    assert refusal is not None
    assert refusal.status == 403


@given(st.dictionaries(st.sampled_from(["sec-fetch-site", "origin", "referer", "host"]), st.text()))
def test_whatever_headers_say_only_our_own_origin_passes(headers: dict[str, str]) -> None:
    sent = {"host": "app.example", **{name: value for name, value in headers.items() if name != "host"}}
    if cross_site(sent) is None:
        ours = sent.get("sec-fetch-site", "").strip().lower() == "same-origin"
        assert ours or sent["origin"].lower() in ("https://app.example", "http://app.example")
