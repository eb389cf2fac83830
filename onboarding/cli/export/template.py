"""`onboard template`: print the resources of a deployment template for what a policy wants on a VM: identity,
associations and extension.

By default they are the resources alone, as the documentation of the extension shows it; with --complete it is a
template that deploys the same as the function app. It holds no secrets: protected settings are secure parameters. Exit
codes: 0, 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from onboarding.app import read_configuration
from onboarding.cli.command_list import add_command
from onboarding.cli.environment import add_settings, environment_of
from onboarding.cli.io import BadInput, Commands, as_json
from onboarding.cli.output import Form, add_output
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import given_settings, known_settings
from onboarding.domain.catalog.setting_templates import has_machine_template
from onboarding.domain.errors import ConfigurationError, as_written, known_names
from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.routing import routed_to
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.export.arm_template import arm_parameters, arm_template
from onboarding.export.bicep_template import bicep_template
from onboarding.export.extension_template import ExtensionTemplate, Placement
from onboarding.export.step_resources import associations_of, identity_of, named_identity_of
from onboarding.export.template_settings import template_settings


def add(commands: Commands) -> None:
    parser = add_command(commands, "template")
    parser.add_argument(
        "--placement",
        choices=tuple(Placement),
        type=Placement,
        default=Placement.NESTED,
        help="in the VM resource, or at the root of the template (default: nested)",
    )
    parser.add_argument("--vm", metavar="NAME", default="", help="name of the VM (default: a parameter)")
    parser.add_argument("--location", metavar="L", default="", help="region of the VM (default: that of the group)")
    parser.add_argument("--policy", metavar="NAME", default="", help="policy with the settings (default: the only one)")
    parser.add_argument("--extension", metavar="NAME", default="", help="one of the extensions of the policy")
    parser.add_argument("--workspace", metavar="NAME", default="", help="one of the workspaces of the policy")
    language = "language of the template (default: %(default)s)"
    parser.add_argument("--format", choices=("arm", "bicep"), default="arm", help=language)
    add_output(parser, (Form.JSON,), note="a template in Bicep is --format bicep")
    parser.add_argument(
        "--complete",
        action="store_true",
        help="print a whole template: root for an existing VM, nested with a new VM",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    template = _template(args)
    if args.format == "bicep":
        print(bicep_template(template), end="")
        return 0
    print(as_json(arm_template(template), indent=2))
    if template.parameters and not template.complete:
        needed = as_json(arm_parameters(template.parameters))
        print(f'Add to the template\'s "parameters": {needed}', file=sys.stderr)
    return 0


def _template(args: argparse.Namespace) -> ExtensionTemplate:
    environment = environment_of(args)
    configuration = read_configuration(environment)
    if args.vm and not isinstance(parse_id(str(VmId("s", "g", args.vm))), VmId):
        raise BadInput("--vm", f"{as_written(args.vm)} is not the name of a VM", "use letters, digits, - and _")
    chosen = _policy(configuration.rules.policies.policies, args.policy, args.extension)
    policy = routed_to(chosen, args.workspace)
    policy = policy.for_target(_extension(policy, args.extension))
    entry = configuration.rules.catalogue[policy.extension]
    _check(entry, policy, environment)
    named = named_identity_of(policy, entry, environment)
    public, protected = template_settings(entry, policy, environment, named)
    identity, associations = identity_of(policy, environment), associations_of(policy, environment)
    return ExtensionTemplate(
        entry=entry,
        placement=args.placement,
        vm=args.vm,
        location=args.location,
        public=public,
        protected=protected,
        complete=args.complete,
        identity=identity,
        associations=associations,
    )


def _policy(policies: tuple[Policy, ...], name: str, extension: str) -> Policy:
    """The policy of that name; without a name the only active one, or the only one that has the extension."""
    if name:
        chosen = [policy for policy in policies if policy.name == name]
    else:
        chosen = [policy for policy in policies if not policy.inactive]
        if extension and not any(extension in policy.extensions for policy in chosen):
            chosen = [policy for policy in policies if extension in policy.extensions] or chosen
    if len(chosen) == 1:
        return chosen[0]
    problem = f"unknown policy {as_written(name)}" if name else "missing option --policy"
    raise ConfigurationError("--policy", problem, known_names("policies", (each.name for each in policies), name))


def _extension(policy: Policy, name: str) -> str:
    """The extension of that name, or the only one of the policy."""
    if name in policy.extensions or (not name and not policy.one_of):
        return name or policy.extension
    problem = f"policy {policy.name} has no extension {as_written(name)}" if name else "missing option --extension"
    raise ConfigurationError("--extension", problem, known_names("extensions", policy.extensions, name))


def _check(entry: CatalogueEntry, policy: Policy, environment: Mapping[str, str]) -> None:
    """Raises BadInput for what is wrong with the public settings that are known here."""
    known = known_settings(given_settings(entry, policy)["settings"], environment, None)
    found = entry.problems(known, {}, has_machine_template)
    absent = [each for each in found if each.kind == "missing" and len(each.path) == 2]
    if problems := [str(each) for each in found if each not in absent]:
        raise BadInput(f"policy {policy.name}", ", ".join(problems), "correct the settings in the policy")
