"""Evidence: every envelope that ARM, proxies and people use, and how long a refusal asks to wait."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_report import HandlerReport
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.machine.machine_facts import Status
from tests.reference import read_report

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BARE = {"code": "Conflict", "message": "words"}

ENVELOPES = [
    {"error": BARE},
    BARE,
    {"Code": "Conflict", "Message": "words"},
    {"ERROR": {"CODE": "Conflict", "MESSAGE": "words"}},
    {"odata.error": {"code": "Conflict", "message": {"lang": "en", "value": "words"}}},
    {"error": "Conflict", "error_description": "words"},
    json.dumps({"error": BARE}),
    json.dumps({"error": BARE}).encode(),
    {"status": "Failed", "error": BARE},
]


@pytest.mark.parametrize("body", ENVELOPES)
def test_every_envelope_gives_code_and_message(body: object) -> None:
    evidence = Evidence.from_body(409, body)
    assert (evidence.code, evidence.message, evidence.http_status) == ("Conflict", "words", 409)


def test_json_inside_the_message_is_unwrapped() -> None:
    evidence = Evidence.from_body(409, {"error": {"code": "Outer", "message": json.dumps({"error": BARE})}})
    assert evidence.codes == ("Conflict", "Outer")
    assert "words" in evidence.text


def test_details_and_the_inner_error_come_first_among_the_codes() -> None:
    body = {"error": {"code": "A", "details": [{"code": "B", "target": "t"}], "innererror": {"internalErrorCode": "C"}}}
    evidence = Evidence.from_body(409, body)
    assert evidence.codes == ("C", "B", "A")
    assert evidence.details[0].target == "t"


def test_of_a_proxys_page_a_readers_words_are_kept() -> None:
    page = "<html><style>b {}</style><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"
    assert Evidence.from_body(502, page).message == "502 Bad Gateway nginx"


@pytest.mark.parametrize("body", [None, "", b"", {}, [], 7, {"error": None}, {"error": {"code": None, "message": []}}])
def test_a_body_that_says_nothing_gives_no_code_and_no_message(body: object) -> None:
    evidence = Evidence.from_body(500, body)
    assert (evidence.code, evidence.message, evidence.codes) == ("", "", ())


def test_an_operation_that_was_canceled_without_an_error_says_so() -> None:
    assert Evidence.from_operation({"status": "Canceled"}).code == "Canceled"
    assert Evidence.from_operation({"status": "Failed", "error": BARE}).code == "Conflict"


def test_of_several_statuses_the_failed_one_leads() -> None:
    evidence = Evidence.from_status(
        (
            Status("ProvisioningState/succeeded", message="fine"),
            Status("ProvisioningState/transitioning", message="at work"),
            Status("ProvisioningState/failed/51", display="Provisioning failed"),
        )
    )
    assert (evidence.code, evidence.message) == ("ProvisioningState/failed/51", "Provisioning failed")
    assert "fine" not in evidence.text
    assert read_report(evidence).exit_code == 51


PASTED = [
    ("ERROR: (ScopeLocked) The scope …\nCode: ScopeLocked\nMessage: …", "ScopeLocked", None),
    ('StatusCode=409 -- Original Error: Code="Conflict" Message="…"', "Conflict", 409),
    ("ErrorCode: VMExtensionProvisioningError\nErrorMessage: …\nStatusCode: 200", "VMExtensionProvisioningError", None),
    ('Deployment failed. Correlation ID: 0. {"error": {"code": "Conflict", "message": "m"}}', "", None),
    ('{"error": {"code": "Conflict", "message": "m', "Conflict", None),
    ("429 Too Many Requests", "", 429),
    ("Enable failed with exit code 53", "", None),
]


@pytest.mark.parametrize(("text", "code", "status"), PASTED)
def test_pasted_output_of_the_usual_tools_gives_code_and_status(text: str, code: str, status: int | None) -> None:
    evidence = Evidence.from_text(text)
    assert evidence.http_status == status
    assert not code or code in evidence.codes
    assert evidence.text


def test_no_repr_shows_a_message_or_a_header() -> None:
    evidence = Evidence.from_body(
        403, {"error": {"code": "A", "message": "m-secret", "details": [{"message": "d-secret"}]}}, {"H": "h-secret"}
    )
    assert "secret" not in repr(evidence)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "Code", "message", "details", "innererror", "target", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.none() | st.integers(), JSON | st.binary())
def test_no_body_makes_reading_raise(status: int | None, body: object) -> None:
    evidence = Evidence.from_body(status, body)
    Evidence.from_operation(body)
    Evidence.from_text(json.dumps(body) if not isinstance(body, bytes) else body.decode("latin-1"))
    read_report(evidence)


@pytest.mark.parametrize("body", ["{" * 5000, "[" * 5000, '{"error":' * 3000, '{"message": "{"', "{{" * 4000])
def test_deep_and_broken_json_is_a_text(body: str) -> None:
    assert Evidence.from_body(500, body).message


WAITS = [
    ({"Retry-After": "17"}, "", 17.0),
    ({"retry-after": "0"}, "", 0.0),
    ({"Retry-After": "Sun, 01 Mar 2026 12:02:00 GMT"}, "", 120.0),
    ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, "", 0.0),
    ({"Retry-After": "soon"}, "", None),
    ({"x-ms-retry-after-ms": "1500"}, "", 1.5),
    ({}, "Please try again after '372' seconds.", 372.0),
    ({}, "Please try again after '0' seconds.", 0.0),
    ({"Retry-After": "5"}, "Please try again after '372' seconds.", 372.0),
    ({}, "try again in 5 minutes", 300.0),
    ({}, '{"endTime": "2026-03-01T12:05:00.0057434+00:00", "allowedRequestCount": 1}', 300.0057434),
    ({}, '{"endTime": "2026-03-01T12:00:01"}', 1.0),
    ({}, '{"endTime": "never"}', None),
    ({"Retry-After": "inf"}, "after '' seconds", None),
]


@pytest.mark.parametrize(("headers", "message", "seconds"), WAITS)
def test_how_long_a_refusal_asks_to_wait(headers: dict[str, str], message: str, seconds: float | None) -> None:
    details = [{"code": "TooManyRequests", "message": message}]
    evidence = Evidence.from_body(429, {"error": {"code": "x", "message": "", "details": details}}, headers)
    assert read_retry_after(evidence, NOW) == (pytest.approx(seconds, abs=1e-5) if seconds is not None else None)


@given(st.text(), st.text(), st.datetimes())
def test_no_text_makes_the_wait_raise_or_negative(header: str, text: str, moment: datetime) -> None:
    evidence = Evidence.from_body(429, f"{text} {{'endTime': '{moment.isoformat()}'}}", {"Retry-After": header})
    wait = read_retry_after(evidence, NOW)
    assert wait is None or wait >= timedelta(0).total_seconds()


AGENT = "/var/lib/waagent/Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux-1.13.29/omsagent_shim.sh"
OMS = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"

SAID = [
    (
        f"[ExtensionOperationError] Non-zero exit code: 17, {AGENT} -install",
        HandlerReport(OMS, "install", 17, (1, 13, 29)),
    ),
    ("[ExtensionError] Non-zero exit code: 22, omsagent.py -enable", HandlerReport("", "enable", 22)),
    (f"[{OMS}-1.12.17] Install,failed,51,Unsupported", HandlerReport(OMS, "install", 51, (1, 12, 17))),
    ("Non-zero exit code: 1, x -install\n[stdout]\nEnable,failed,55,locked", HandlerReport("", "enable", 55)),
    ("Non-zero exit code: -1, x", HandlerReport("", "", -1)),
    ("Shell bundle exiting with code 17", HandlerReport("", "", 17)),
    ("(exit code = 0x00000033)", HandlerReport("", "", 51)),
    ("command terminated with exit status=1", HandlerReport("", "", 1)),
    ("time-limit 870 scripts/install.sh exited with status 1; if exit_code is 127", HandlerReport()),
    (f"拡張機能 '{OMS}' の エラー", HandlerReport(OMS)),
    ("Disable failed due to an invalid parameter", HandlerReport("", "disable")),
]


@pytest.mark.parametrize(("text", "report"), SAID)
def test_what_the_handler_said_is_found_in_the_wrapping(text: str, report: HandlerReport) -> None:
    assert read_report(Evidence.from_text(text)) == report
