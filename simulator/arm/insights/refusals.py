"""The refusals of writes of associations. Those without a reported body are marked as invented."""

from __future__ import annotations

from simulator.arm.http.errors import ArmError


def endpoint_name() -> ArmError:
    message = "An association of data collection endpoint must be named 'configurationAccessEndpoint'."
    return ArmError(400, "InvalidEndpointAssociationName", message)


# Invented: the code. Users reported the words.
def rule_beside_endpoint() -> ArmError:
    message = "An association of data collection endpoint cannot include data collection rule"
    return ArmError(400, "InvalidEndpointAssociation", message)


# Invented: nobody reported what ARM says of a rule under the name that endpoints have.
def rule_under_endpoint_name() -> ArmError:
    message = "The name 'configurationAccessEndpoint' is for an association of data collection endpoint."
    return ArmError(400, "InvalidAssociationName", message)


# Invented.
def nothing_to_associate() -> ArmError:
    message = "An association must have a data collection rule or a data collection endpoint."
    return ArmError(400, "InvalidPayload", message)


def invalid_link(path: str, value: object) -> ArmError:
    message = (
        f"Property id '{value}' at path '{path}' is invalid. Expect fully qualified resource Id that start with "
        "'/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'."
    )
    return ArmError(400, "LinkedInvalidPropertyId", message, gateway=True)


def foreign_subscription(principal: str, action: str, scope: str, tenant: str, subscription: str) -> ArmError:
    message = (
        f"The client '{principal}' with object id '{principal}' has permission to perform action '{action}' on scope "
        f"'{scope}', however the current tenant '{tenant}' is not authorized to access linked subscription "
        f"'{subscription}'."
    )
    return ArmError(403, "LinkedAuthorizationFailed", message, gateway=True)


# Invented, after the answer of the agents' own endpoint to an unknown rule.
def link_not_found(kind: str, resource_id: str) -> ArmError:
    return ArmError(404, "NotFound", f"Data collection {kind} with Id '{resource_id}' not found.")


# Inferred: the words that ARM has for any resource.
def association_not_found(name: str, group: str, vm: str) -> ArmError:
    path = f"Microsoft.Compute/virtualMachines/{vm}/providers/Microsoft.Insights/dataCollectionRuleAssociations/{name}"
    message = (
        f"The Resource '{path}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", message, gateway=True)
