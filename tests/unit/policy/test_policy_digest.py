"""The digest of a policy decides whether rows are opened again, so it stays what it was for every file that was read
before. What is recorded here was written by the product before files were read into types; the
policies of demo and storm are newer, except the one for the own extension."""

from __future__ import annotations

from pathlib import Path

import pytest

from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.policy_digest import parts
from onboarding.loading.policy_folder import load_catalogue_of, load_policies
from onboarding.loading.safe_reader import parse_yaml
from tests.reference import parse_policy

ROOT = Path(__file__).parents[3]

FILES = {
    "policies": ["e8f8ad34e32fca93", "16389bf7c90ee818"],
    "samples/policies/demo": ["811d3bb2e061260f", "652ffd53d9f7c3ea", "b01d24d95ab16202", "3a1cd50e2618a1ea"],
}

# As people write files: with numbers, dates and empty keys where a text may stand.
TEXTS = {
    "least": "{name: a, extension: oms}",
    "empty keys": """
name: a
extension: oms
includeManaged:
rule:
parameters:
existenceCondition:
azurePolicy:
brake:
source:
settings:
protectedSettings:
supportTable:
exemptions:
waits:
settleDelay:
workspaces:
reconnect:
autoUpgradeMinorVersion:
""",
    "date": "{name: a, extension: oms, exemptions: [{scope: /, expiresOn: 2027-01-01, reason: 4711}]}",
    "moment": "{name: a, extension: oms, exemptions: [{scope: /, expiresOn: 2027-01-01 08:00:00}]}",
    "moment with zone": "{name: a, extension: oms, exemptions: [{scope: /, expiresOn: 2027-01-01T08:00:00+02:00}]}",
    "moment in quotes": "{name: a, extension: oms, exemptions: [{scope: /, expiresOn: '2027-01-01T08:00Z'}]}",
    "table by date": "{name: a, extension: oms, supportTable: 2024-07-01}",
    "table by number": "{name: a, extension: oms, supportTable: 2024.07}",
    "no delay": "{name: a, extension: oms, settleDelay: 0}",
    "source": "{name: a, extension: oms, source: {definition: x, date: 2026-01-15, 5: [1, null]}}",
    "values": "{name: a, extension: oms, settings: {a: 1, b: 1.5, c: yes, d: null, e: 2027-01-01, f: [{g: h}]}}",
    "secrets": "{name: a, extension: oms, protectedSettings: {a: '{KEY}', b: in the clear, c: 5}}",
    "one and many": """
name: a
extension: oms
effect: AUDITIFNOTEXISTS
scope: /subscriptions/s1
notScopes: [/subscriptions/s1/resourceGroups/Lab-*]
includeManaged: aks-node
azurePolicy: /providers/Microsoft.Authorization/policyDefinitions/X
""",
    "all": """
name: lab
extension: oms-agent-linux
effect: auditIfNotExists
scope: [/subscriptions/11112222-3333-4444-5555-666677778888, /]
notScopes: []
includeManaged: [aks-node, packer-build]
rule: {field: location, equals: "[parameters('where')]"}
parameters: {where: westeurope, since: 2026-01-01, count: 5}
existenceCondition: {allOf: [{field: name, equals: x}]}
azurePolicy:
  - /providers/Microsoft.Authorization/policyDefinitions/x
  - /a/providers/microsoft.authorization/policyAssignments/y
brake: {maxInstallsPerHour: 100, stopAfterFailures: 5}
settings: {workspaceId: "{OMS_WORKSPACE_ID}"}
protectedSettings: {workspaceKey: "{OMS_WORKSPACE_KEY}"}
supportTable: "2017-04"
exemptions:
  - {scope: /, category: Mitigated, expiresOn: 2027-01-01, reason: x}
  - {scope: /subscriptions/s1}
waits: {agent-ready: {every: [1m, 1.5 h], giveUpAfter: 2d}, install: {}}
settleDelay: 5m
workspaces:
  - {name: a, when: {field: location, equals: x}, settings: {workspaceId: b}}
  - {name: b, when: {}, protectedSettings: {workspaceKey: "{KEY}"}}
reconnect: true
autoUpgradeMinorVersion: false
""",
}
DIGESTS: dict[str, str] = {
    "least": "7486a354d1de4a48",
    "empty keys": "cc5dfd8f15c7284c",
    "date": "5c52cb00b44013d2",
    "moment": "56f527ca5eac4f41",
    "moment with zone": "09d992c1477769e7",
    "moment in quotes": "c7b641f92fc00a4e",
    "table by date": "27762a1f05fb7f51",
    "table by number": "40c0073a044dec10",
    "no delay": "5baa6e5eb912b256",
    "source": "3d78cbfd3b74b04e",
    "values": "0bb83725e0cce0f2",
    "secrets": "e50bd16aff17721a",
    "one and many": "fddb897bd9ee0a36",
    "all": "b0ccf903f4df54d7",
}


@pytest.mark.parametrize("folder", FILES)
def test_the_digest_of_a_file_that_is_there_stays(folder: str) -> None:
    catalogue = load_catalogue_of(ROOT / folder)
    policies, problems = load_policies(ROOT / folder, catalogue.entries)
    assert ([parts(policy.digest)[0] for policy in policies.policies], problems) == (FILES[folder], ())


@pytest.mark.parametrize("name", TEXTS)
def test_the_digest_of_a_text_stays(name: str) -> None:
    assert parse_policy(parse_yaml(TEXTS[name]), "p.yaml", compile_rule).digest == DIGESTS[name]
