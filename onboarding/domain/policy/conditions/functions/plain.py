"""The table of template functions that need only their arguments, and how one is called.

A function that fails with its arguments makes the condition undecided; in Azure it fails the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from onboarding.domain.policy.conditions.errors import Undecided
from onboarding.domain.policy.conditions.functions.collection import COLLECTION_FUNCTIONS
from onboarding.domain.policy.conditions.functions.network import NETWORK_FUNCTIONS
from onboarding.domain.policy.conditions.functions.number import NUMBER_FUNCTIONS
from onboarding.domain.policy.conditions.functions.text import TEXT_FUNCTIONS
from onboarding.domain.policy.conditions.limits import Budget, bounded, weight
from onboarding.domain.policy.conditions.values import NOT_GIVEN, fold, shown

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    fold(name): function
    for table in (TEXT_FUNCTIONS, COLLECTION_FUNCTIONS, NUMBER_FUNCTIONS, NETWORK_FUNCTIONS)
    for name, function in table.items()
}

# "All Resource Manager template functions are available to use within a policy rule, except …"
NOT_IN_RULES: Final = frozenset(
    (
        *("copyindex", "datetimeadd", "datetimefromepoch", "datetimetoepoch", "deployment", "environment"),
        *("extensionresourceid", "lambda", "listaccountsas", "listkeys", "listsecrets", "managementgroup", "newguid"),
        *("pickzones", "providers", "reference", "resourceid", "subscriptionresourceid", "tenantresourceid"),
        *("tenant", "variables"),
    )
)


def call(name: str, function: Callable[..., Any], arguments: Sequence[Any], budget: Budget) -> Any:
    """The function's value, or `Undecided` with its name and arguments."""
    if any(argument is NOT_GIVEN for argument in arguments):
        raise Undecided(f"{name}() needs a parameter that has no value")
    budget.spend(1 + sum(map(weight, arguments)))
    try:
        return bounded(function(*arguments), budget)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        given = ", ".join(shown(argument) for argument in arguments)
        raise Undecided(f"{name}({given}) has no value: {error}") from error
