"""Policies: reading their files, and what they want of a VM."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.policy.policy import Effect, Policy, PolicySet
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId
from tests.reference import parse_policy

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
VM = VmId("s1", "app-rg", "web01")
HERE = {"name": "here", "extension": "oms"}
RULE = {"field": "tags['onboarding']", "notEquals": "skip"}


def _policy(**changes: Any) -> Policy:
    return parse_policy({**HERE, **changes}, "p.yaml", compile_rule)


def _facts(vm: VmId = VM, **tags: str) -> MachineFacts:
    body = {"id": str(vm), "location": "westeurope", "type": "Microsoft.Compute/virtualMachines", "tags": tags}
    return read_facts(body)


def test_the_least_policy_wants_every_vm() -> None:
    policy = _policy()
    assert (policy.effect, policy.rule, policy.scopes) == (Effect.DEPLOY, None, ())
    assert policy.settle_delay == timedelta()
    assert policy.select(_facts(), NOW).selected


@pytest.mark.parametrize("effect", ["AuditIfNotExists", "auditifnotexists", "AUDITIFNOTEXISTS"])
def test_an_effect_is_read_without_case(effect: str) -> None:
    assert _policy(effect=effect).effect is Effect.AUDIT


ELSEWHERE = "/subscriptions/s2"
IN_GROUP = "/subscriptions/s1/resourceGroups/app-*"
EXEMPT = {"scope": str(VM), "category": "Mitigated", "reason": "hardened by hand", "expiresOn": "2027-01-01"}


@pytest.mark.parametrize(
    ("changes", "selected", "says"),
    [
        ({"effect": "disabled"}, False, "policy here is disabled"),
        ({"effect": "auditIfNotExists"}, True, "policy here selects it"),
        ({"scope": ELSEWHERE}, False, "outside the scope of policy here"),
        ({"scope": [ELSEWHERE, IN_GROUP]}, True, ""),
        ({"scope": "/", "notScopes": IN_GROUP}, False, "outside the scope"),
        ({"notScopes": [ELSEWHERE]}, True, ""),
        ({"exemptions": [EXEMPT]}, False, "exempt from policy here (Mitigated until 2027-01-01: hardened by hand)"),
        ({"exemptions": [{"scope": IN_GROUP}]}, False, "(Waiver: no reason given)"),
        ({"exemptions": [{**EXEMPT, "scope": ELSEWHERE}]}, True, ""),
        ({"exemptions": [{**EXEMPT, "expiresOn": "2026-11-20T10:00:00Z"}]}, True, ""),
        ({"exemptions": [{**EXEMPT, "expiresOn": "2026-11-20T10:00:01Z"}]}, False, "exempt"),
        ({"exemptions": [{**EXEMPT, "expiresOn": date(2026, 11, 21)}]}, False, "exempt"),
        ({"exemptions": [{**EXEMPT, "expiresOn": datetime(2026, 11, 20, 9, 59)}]}, True, ""),  # noqa: DTZ001 # as YAML gives it
        ({"rule": RULE}, False, "the rule of policy here does not match it: "),
        ({"rule": {**RULE, "notEquals": "keep"}}, True, ""),
        ({"rule": RULE, "effect": "disabled"}, False, "disabled"),
        ({"rule": RULE, "scope": ELSEWHERE}, False, "outside"),
        ({"rule": RULE, "exemptions": [EXEMPT]}, False, "exempt"),
    ],
)
def test_what_a_policy_wants_of_a_vm(changes: dict[str, Any], selected: bool, says: str) -> None:
    assignment = _policy(**changes).select(_facts(onboarding="skip"), NOW)
    assert assignment.selected is selected
    assert says in assignment.reason


def _set(*policies: Policy) -> PolicySet:
    return PolicySet(policies)


def test_the_first_policy_that_selects_decides_for_its_extension() -> None:
    first = _policy(name="first", scope=ELSEWHERE)
    second = _policy(name="second", effect="auditIfNotExists")
    third = _policy(name="third")
    other = _policy(name="other", extension="ama", scope=ELSEWHERE)
    said = _set(first, second, third, other).assign(_facts(), NOW)
    assert [(a.policy.name, a.selected) for a in said] == [("second", True), ("other", False)]


def test_the_refusal_with_the_most_checks_passed_is_shown() -> None:
    far = _policy(name="far", effect="disabled")
    outside = _policy(name="outside", scope=ELSEWHERE)
    ruled_out = _policy(name="ruled-out", rule=RULE)
    exempt = _policy(name="exempt", exemptions=[EXEMPT])
    for policies in ([far, outside, ruled_out, exempt], [exempt, ruled_out, outside, far]):
        (said,) = _set(*policies).assign(_facts(onboarding="skip"), NOW)
        assert said.policy.name == "exempt"


def test_a_refusal_of_a_removal_is_shown_only_where_no_install_refuses() -> None:
    removal = _policy(name="retire", effect="removeIfExists", exemptions=[EXEMPT])
    far = _policy(name="far", scope=ELSEWHERE)
    for policies in ([removal, far], [far, removal]):
        (said,) = _set(*policies).assign(_facts(), NOW)
        assert (said.policy.name, said.selected) == ("far", False)
    (said,) = _set(removal).assign(_facts(), NOW)
    assert said.policy.name == "retire"


def test_an_undecided_removal_is_overruled_by_no_install() -> None:
    unclear = _policy(name="retire", effect="removeIfExists", rule={"field": "[field('name')]", "exists": True})
    for later in (_policy(name="oms"), _policy(name="far", scope=ELSEWHERE)):
        (said,) = _set(later, unclear).assign(_facts(), NOW)
        assert (said.policy.name, said.undecided) == ("retire", True)


def test_a_vm_that_could_not_be_read_is_judged_by_its_id() -> None:
    policies = _set(
        _policy(name="off", effect="disabled"),
        _policy(name="outside", scope=ELSEWHERE),
        _policy(name="ruled", rule=RULE),
        _policy(name="later"),
        _policy(name="other", extension="ama"),
    )
    assert sorted(policy.name for policy in policies.for_unread(VM)) == ["other", "ruled"]


def test_the_rest_of_a_file() -> None:
    policy = _policy(
        supportTable="2023-11",
        settleDelay="5m",
        settings={"workspaceId": "{ID}"},
        protectedSettings={"workspaceKey": "{KEY}"},
        waits={"install": {"every": ["5m"]}},
    )
    assert (policy.support_table, policy.settle_delay) == ("2023-11", timedelta(minutes=5))
    assert (policy.settings, policy.protected_settings) == ({"workspaceId": "{ID}"}, {"workspaceKey": "{KEY}"})
    assert policy.waits[WaitingFor.INSTALL].intervals == (300,)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": None}, "key 'name' has no value (p.yaml: name); write a text"),
        ({"name": 5}, "5 is not a text (p.yaml: name); write a text, in quotes"),
        ({"extension": ""}, "key 'extension' is empty (p.yaml: extension); write the name of an extension"),
        ({"Scope": "/"}, "unknown key 'Scope' in policy here (p.yaml: Scope); known keys: "),
        ({5: 5}, "unknown key 5 in a policy (p.yaml: 5); known keys: "),
        (
            {"effect": "deploy"},
            "unknown effect 'deploy' (p.yaml: effect); known effects: deployIfNotExists, auditIfNotExists",
        ),
        ({"effect": None}, "key 'effect' has no value (p.yaml: effect); known effects: deployIfNotExists, "),
        ({"scope": ["/", "nowhere"]}, "'nowhere' is not a scope (p.yaml: scope[1]); write "),
        ({"notScopes": 5}, "5 is not a scope (p.yaml: notScopes); write "),
        ({"rule": "always"}, "'always' is not a mapping (p.yaml: rule); write "),
        (
            {"rule": {"allOf": [{"field": "nonsense", "equals": "x"}]}},
            "unknown field 'nonsense' (p.yaml: rule.allOf[0].field); use ",
        ),
        (
            {"parameters": {"env": "[resourceGroup().tags.env]"}},
            "'[resourceGroup().tags.env]' is an expression, and a parameter is a plain value (p.yaml: "
            "parameters.env); write",
        ),
        (
            {"parameters": {"in": ["a", "[toLower('B')]"]}},
            "\"[toLower('B')]\" is an expression, and a parameter is a plain value (p.yaml: parameters.in[1]); write",
        ),
        ({"settings": ["a"]}, "a list is not a mapping (p.yaml: settings); write "),
        ({"protectedSettings": "key"}, "'key' is not a mapping (p.yaml: protectedSettings); write "),
        ({"exemptions": EXEMPT}, "a mapping is not a list (p.yaml: exemptions); write `- {scope: …, category: …"),
        ({"exemptions": ["/"]}, "'/' is not an exemption (p.yaml: exemptions[0]); write "),
        ({"exemptions": [EXEMPT, {}]}, "missing key 'scope' in an exemption (p.yaml: exemptions[1].scope); add "),
        (
            {"exemptions": [{**EXEMPT, "category": "Whim"}]},
            "unknown category 'Whim' (p.yaml: exemptions[0].category); known categories: Waiver, Mitigated",
        ),
        (
            {"exemptions": [{**EXEMPT, "expiresOn": "soon"}]},
            "'soon' is not a date (p.yaml: exemptions[0].expiresOn); write ",
        ),
        (
            {"exemptions": [{"scope": "/", "expireson": "2027-01-01"}]},
            "unknown key 'expireson' in an exemption (p.yaml: exemptions[0].expireson); known keys: scope, "
            "category, expiresOn",
        ),
        (
            {"settleDelay": "a while"},
            "'a while' is not a duration (p.yaml: settleDelay); use a number and s, m, h or d",
        ),
        (
            {"includeManaged": 1},
            "1 is not true, false or a list of kinds (p.yaml: includeManaged); write true, false or a list of kinds",
        ),
        ({"includeManaged": ["aks-node", 5]}, "5 is not a text (p.yaml: includeManaged[1]); write a text"),
        ({"includeManaged": ["aks"]}, "unknown kind 'aks' (p.yaml: includeManaged[0]); write true, false or a list"),
        (
            {"azurePolicy": 7},
            "7 is not the id of an Azure Policy definition or assignment (p.yaml: azurePolicy); write",
        ),
        ({"workspaces": []}, "key 'workspaces' is empty (p.yaml: workspaces); write `- {name: …, when: …"),
        ({"workspaces": [{"name": ""}]}, "key 'name' is empty (p.yaml: workspaces[0].name); write a text"),
        ({"workspaces": [{"name": "a"}, {"name": "b"}]}, "no VM can reach this workspace: 'a' above it has no `when`"),
        ({"reconnect": "yes"}, "'yes' is not true or false (p.yaml: reconnect); write true or false, without quotes"),
        ({"settings": {5: 5}}, "the key 5 is not a text (p.yaml: settings.5); put it in quotes"),
        ({"supportTable": []}, "an empty list is not a text (p.yaml: supportTable); write a text"),
        ({"waits": {"install": 5}}, "5 is not a schedule (p.yaml: waits.install); write "),
    ],
)
def test_a_bad_file_is_named_with_the_place(changes: dict[Any, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_policy({**HERE, **changes}, "p.yaml", compile_rule)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize("text", ["[a b]", "['a']", '["a"]', "[", "[]", "[[toLower('B')]", "resourceGroup()"])
def test_a_parameter_may_be_a_text_in_brackets(text: str) -> None:
    rule = {"field": "tags['env']", "notEquals": "[parameters('env')]"}
    assert parse_policy({**HERE, "rule": rule, "parameters": {"env": text}}, "p.yaml", compile_rule).rule


@pytest.mark.parametrize("raw", [None, [], "text", 5])
def test_what_is_no_policy_is_named(raw: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^(null|an empty list|'text'|5) is not a policy \(p\.yaml\); write a mapping"
    ):
        parse_policy(raw, "p.yaml", compile_rule)


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "parameters",
    "existenceCondition",
    "effect",
    "scope",
    "notScopes",
    "rule",
    "settings",
    "protectedSettings",
    "exemptions",
    "waits",
    "settleDelay",
]


@given(st.sampled_from(["name", "extension", "supportTable", *KEYS]), yaml_values)
def test_an_odd_value_is_taken_or_named(key: str, value: object) -> None:
    assert _place_of_error({**HERE, key: value}).startswith("p.yaml")


def _place_of_error(raw: dict[str, Any]) -> str:
    try:
        parse_policy(raw, "p.yaml", compile_rule)
    except ConfigurationError as error:
        return error.place
    return "p.yaml: nothing"


@pytest.mark.parametrize("wrong", ["linux-monitoring", "/providers/Microsoft.Authorization/policySetDefinitions/x", 7])
def test_an_id_that_is_none_of_azure_policys_is_named(wrong: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r" is not the id of an Azure Policy .*\(p\.yaml: azurePolicy\[0\]\); write"
    ):
        _policy(azurePolicy=[wrong])


# The digest names the content of a policy file.


def test_the_digest_is_the_same_for_the_same_content_in_another_order() -> None:
    raw = {**HERE, "rule": RULE, "scope": ["/subscriptions/a", "/subscriptions/b"]}
    turned = {key: raw[key] for key in reversed(raw)}
    assert parse_policy(raw, "p.yaml", compile_rule).digest == parse_policy(turned, "q.json", compile_rule).digest


def test_the_digest_changes_with_whatever_the_file_says() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"name": "there"},
        {"effect": "auditIfNotExists"},
        {"scope": ["/subscriptions/a"]},
        {"scope": ["/subscriptions/a", "/subscriptions/b"]},
        {"rule": RULE},
        {"rule": {**RULE, "notEquals": "leave"}},
        {"settings": {"a": "1"}},
        {"settings": {"a": 1}},
        {"protectedSettings": {"key": "{ONE}"}},
        {"protectedSettings": {"key": "{ANOTHER}"}},
        {"protectedSettings": {"another": "{ONE}"}},
        {"workspaces": [{"name": "w", "protectedSettings": {"key": "{ONE}"}}]},
        {
            "exemptions": [
                {"scope": "/subscriptions/a", "category": "Waiver", "reason": "lab", "expiresOn": date(2027, 1, 1)}
            ]
        },
    ]
    digests = [_policy(**change).digest for change in changes]
    assert len(set(digests)) == len(changes)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


def test_no_secret_value_goes_into_the_digest() -> None:
    secrets = [{"protectedSettings": {"key": value}} for value in ("one secret", "another secret")]
    assert _policy(**secrets[0]).digest == _policy(**secrets[1]).digest
    inside = [{"workspaces": [{"name": "w", **secret}]} for secret in secrets]
    assert _policy(**inside[0]).digest == _policy(**inside[1]).digest


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.dates()),
            lambda inner: st.lists(inner),
            max_leaves=20,  # a draft with more is drawn anew; with the usual 100 that takes seconds
        ),
    )
)
def test_every_file_that_is_a_policy_has_a_digest(settings: dict[Any, Any]) -> None:
    assert len(_policy(settings=settings).digest) == 16
