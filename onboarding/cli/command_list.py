"""The names of all commands, in the order of the help, with the words and the examples of their help.

They are here, and not in the modules of the commands, so that the start of one command loads no module of another."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from onboarding.cli.io import Commands

_WIDTH = 78  # as argparse wraps its texts in 80 columns


class CommandHelp(NamedTuple):
    """What the help says of a command, and where its arguments are defined."""

    module: str
    help: str
    examples: tuple[str, ...]


COMMANDS: Mapping[str, CommandHelp] = {
    "changes": CommandHelp(
        "machines.changes",
        "show what was written to Azure, when, why and by whose hand",
        (
            "onboard changes --since 2h",
            "onboard changes -g app-rg -n web01",
            "onboard changes --policy linux-monitoring --step extension -o csv",
        ),
    ),
    "check": CommandHelp(
        "images.check",
        "say whether an extension supports an image, and why",
        (
            "onboard check --image Canonical:UbuntuServer:16.04-LTS",
            "az vm image list --all -o json | onboard check - -o csv",
            "az vm list -o json | onboard check - --why",
        ),
    ),
    "compare": CommandHelp(
        "images.compare",
        "compare our image checks with an Azure Policy definition",
        ("onboard compare labels.jsonl --definition policy.json",),
    ),
    "completion": CommandHelp(
        "completion",
        "print what a shell needs to complete commands and options",
        (
            "source <(onboard completion bash)",
            "source <(onboard completion zsh)",
            "onboard completion fish | source",
        ),
    ),
    "diagnose": CommandHelp(
        "failures.diagnose",
        "explain an error message: what it means and what to do",
        (
            "onboard diagnose 'Non-zero exit code: 51'",
            "az vm get-instance-view -g GROUP -n NAME | onboard diagnose",
            "onboard diagnose -o jsonl - < errors.jsonl",
        ),
    ),
    "document": CommandHelp(
        "export.document",
        "update the generated parts of a documentation page",
        ("onboard document --check", "onboard document docs/supported-images.md"),
    ),
    "enforce": CommandHelp(
        "machines.enforce",
        "take up VMs that are older than a policy, which only audits them",
        (
            "onboard enforce linux-monitoring --dry-run",
            "onboard enforce linux-monitoring -g app-rg --limit 100",
            "onboard enforce linux-monitoring web01 web02 --yes -o jsonl",
        ),
    ),
    "errors": CommandHelp(
        "failures.errors",
        "list the exit codes of an extension and what they mean",
        ("onboard errors", "onboard errors 51", "onboard errors -o csv > codes.csv"),
    ),
    "events": CommandHelp(
        "operations.events",
        "show whether events arrive: the last ones, lost ones, failed messages, dead letters",
        ("onboard events", "onboard events -o json"),
    ),
    "extension": CommandHelp(
        "catalog",
        "list, make, validate, try and show catalogue entries",
        (
            "onboard extension list",
            "onboard extension new --publisher Contoso.Inventory --type AgentLinux",
            "onboard extension test agent-linux --setting region=eu",
        ),
    ),
    "extensions": CommandHelp(
        "machines.extensions",
        "list the extensions of VMs and explain failures",
        (
            "onboard extensions -g app-rg -n web01",
            "onboard extensions web01 web02",
            "az vm list --query [].id -o tsv | onboard extensions - -o jsonl",
        ),
    ),
    "install": CommandHelp(
        "machines.install",
        "onboard chosen VMs now, by the same rules as the function app",
        (
            "onboard install -g app-rg web01 --dry-run --show-az",
            "onboard install -g app-rg web01 web02 web03",
            "az vm list --query [].id -o tsv | onboard install - --no-wait",
        ),
    ),
    "logs": CommandHelp(
        "machines.logs",
        "show the extension handler's log on the VM, with explanations",
        ("onboard logs -g app-rg -n web01", "onboard logs web01 --lines 100"),
    ),
    "migration": CommandHelp(
        "operations.migration",
        "show how far VMs are on the way from one agent to another",
        (
            "onboard migration",
            "onboard migration --list both -o csv",
            "onboard migration --from inventory-agent --to azure-monitor",
        ),
    ),
    "open": CommandHelp(
        "operations.open_page",
        "open the page of the function app in a browser",
        ("onboard open", "onboard open --app https://func-onboarding.azurewebsites.net", "onboard open --print"),
    ),
    "pause": CommandHelp(
        "operations.pause",
        "stop all changes of VMs, or those of a subscription or policy",
        (
            "onboard pause --reason 'change freeze' --until 2026-12-24T18:00",
            "onboard pause --policy linux-monitoring --reason 'wrong workspace'",
            "onboard pause --list",
        ),
    ),
    "policy": CommandHelp(
        "policy",
        "evaluate, explain, plan, compare, validate, test, import and resume policies",
        ("onboard policy validate", "onboard policy plan --live --against deployed-policies"),
    ),
    "remove": CommandHelp(
        "machines.remove",
        "remove an extension from chosen VMs now",
        (
            "onboard remove web01 --extension inventory-agent --dry-run",
            "onboard remove web01 --policy retire-oms",
            "onboard remove - --extension inventory-agent --yes < ids.txt",
        ),
    ),
    "replay": CommandHelp(
        "operations.replay",
        "post events to a functions host, as Event Grid does",
        (
            "onboard replay samples/events/created.json",
            "onboard replay --dead-letter dead-letters --to https://HOST?code=KEY",
            "onboard replay --poison --settings local.settings.json",
        ),
    ),
    "resume": CommandHelp(
        "operations.resume",
        "end a pause, and continue the VMs that waited for it",
        ("onboard resume", "onboard resume --policy linux-monitoring", "onboard resume --all"),
    ),
    "retry": CommandHelp(
        "machines.retry",
        "try VMs again that failed, after the problem was fixed",
        ("onboard retry web01", "onboard retry --policy linux-monitoring --dry-run", "onboard retry --all --no-wait"),
    ),
    "status": CommandHelp(
        "machines.status",
        "show the outcome of each VM, or the history of one",
        (
            "onboard status --since 2h --sort time",
            "onboard status --policy linux-monitoring --outcome Failed Waiting -o csv",
            "onboard status web01 --history",
            "onboard status --totals",
        ),
    ),
    "sweep": CommandHelp(
        "operations.sweep",
        "find VMs that need reconciling, and request it",
        ("onboard sweep --dry-run", "onboard sweep --policy linux-monitoring -o jsonl"),
    ),
    "template": CommandHelp(
        "export.template",
        "print identity, associations and extension for an ARM or Bicep template",
        (
            "onboard template",
            "onboard template --placement root --complete --vm web01 --format bicep",
        ),
    ),
}

# The actions of `onboard policy`.
ACTIONS: Mapping[str, CommandHelp] = {
    "evaluate": CommandHelp(
        "policy.evaluate",
        "evaluate an Azure Policy definition for VMs",
        ("onboard policy evaluate --definition definition.json --vm vms.json -o csv",),
    ),
    "explain": CommandHelp(
        "policy.explain",
        "show as a tree which conditions of a policy a VM meets",
        (
            "onboard policy explain --vm vm.json",
            "onboard policy explain -g app-rg -n web01 --policy linux-monitoring",
        ),
    ),
    "plan": CommandHelp(
        "policy.plan",
        "show what a change of the policy files would do to a fleet",
        (
            "az vm list -o json | onboard policy plan --against deployed-policies",
            "onboard policy plan --live --subscription ID --all -o csv",
        ),
    ),
    "compare": CommandHelp(
        "azure_policy.compare_decisions",
        "show where Azure Policy and our policies decide differently, and why",
        (
            "az vm list -o json | onboard policy compare initiative.json",
            "onboard policy compare initiative.json --live --subscription ID -o csv",
        ),
    ),
    "validate": CommandHelp(
        "policy.validate",
        "find all errors of policy, extension and definition files",
        ("onboard policy validate", "onboard policy validate policies/linux.yaml -o jsonl"),
    ),
    "test": CommandHelp(
        "policy.cases",
        "run the test cases of policies (*.cases.yaml)",
        ("onboard policy test", "onboard policy test policies/linux.cases.yaml"),
    ),
    "import": CommandHelp(
        "azure_policy.import_definition",
        "convert an Azure Policy definition or initiative to policy files",
        (
            "az policy definition show -n NAME | onboard policy import - -o new.yaml",
            "onboard policy import initiative.json -o policies --parameter dcrResourceId=ID",
            "onboard policy import initiative.json --dry-run --report csv",
        ),
    ),
    "schema": CommandHelp(
        "policy.schema",
        "write the JSON Schema of policy files, for editors",
        ("onboard policy schema --check", "onboard policy schema --kind cases cases.schema.json"),
    ),
    "resume": CommandHelp(
        "policy.resume",
        "resume a policy that stopped after too many failures",
        ("onboard policy resume", "onboard policy resume linux-monitoring"),
    ),
}

# The commands whose first argument is an action; a module of each action defines its arguments.
WITH_ACTIONS = frozenset({"extension", "policy"})

# The actions of `onboard extension`.
EXTENSION_ACTIONS: Mapping[str, CommandHelp] = {
    "list": CommandHelp(
        "catalog.list_entries",
        "list the shipped extensions and your own, and the policies that use them",
        ("onboard extension list", "onboard extension list --own -o csv"),
    ),
    "new": CommandHelp(
        "catalog.new_entry",
        "make an entry from publisher and type, or from an installed extension",
        (
            "onboard extension new --publisher Contoso.Inventory --type AgentLinux",
            "az vm extension show -g G --vm-name V -n X | onboard extension new -",
        ),
    ),
    "validate": CommandHelp(
        "catalog.entry_validation",
        "find the errors of your own entries, each with its line and its fix",
        ("onboard extension validate", "onboard extension validate agent.yaml -o jsonl"),
    ),
    "test": CommandHelp(
        "catalog.entry_trial",
        "install an extension on a simulated VM, and show what was sent",
        (
            "onboard extension test agent-linux --setting region=eu",
            "onboard extension test agent.yaml -o json",
        ),
    ),
    "show": CommandHelp(
        "catalog.show",
        "print an entry in the present format, also one in the former",
        ("onboard extension show inventory-agent -o json", "onboard extension show old.yaml > new.yaml"),
    ),
    "schema": CommandHelp(
        "catalog.extension_schema",
        "write the JSON Schema of catalogue files, for editors",
        ("onboard extension schema --check",),
    ),
}


def add_command(
    commands: Commands, name: str, known: Mapping[str, CommandHelp] = COMMANDS, *, description: str = "", **usual: Any
) -> argparse.ArgumentParser:
    """The parser of a command, whose help ends with its examples."""
    entry = known[name]
    text = description or f"{entry.help[0].upper()}{entry.help[1:]}."
    return commands.add_parser(
        name,
        help=entry.help,
        description=textwrap.fill(text, _WIDTH),
        epilog="\n  ".join(["examples:", *entry.examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **usual,
    )


def add_action(actions: Commands, name: str) -> argparse.ArgumentParser:
    """The parser of an action of `onboard policy`."""
    return add_command(actions, name, ACTIONS)
