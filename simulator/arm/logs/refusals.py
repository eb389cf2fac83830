"""The refusals of the query API, in its own form. Those without a documented or reported body are marked."""

from __future__ import annotations

import uuid
from typing import Any

from simulator.arm.http.errors import ArmError


def missing_token() -> ArmError:
    return ArmError(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")


def invalid_token() -> ArmError:
    return _refused(403, "InvalidAuthenticationToken", "The access token is invalid.")


def insufficient_access() -> ArmError:
    message = "The provided credentials have insufficient access to perform the requested operation"
    return _refused(403, "InsufficientAccessError", message)


# Users report it for a workspace's name in place of its id; that an unknown id gets the same is inferred.
def path_not_found() -> ArmError:
    return _refused(404, "PathNotFoundError", "The requested path does not exist")


def syntax_error() -> ArmError:
    inner = {"code": "SyntaxError", "message": "Syntax Error"}
    return _refused(400, "BadArgumentError", "The request had some invalid properties", innererror=inner)


# Inferred: what a caller gets that may query the workspace and not this table.
def unknown_table(table: str) -> ArmError:
    words = f"'where' operator: Failed to resolve table or column expression named '{table}'"
    inner = {"code": "SemanticError", "message": "A semantic error occurred.", "innererror": {"message": words}}
    return _refused(400, "BadArgumentError", "The request had some invalid properties", innererror=inner)


# Invented: the code and the words. The limit is documented.
def too_many(seconds: int) -> ArmError:
    message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    return ArmError(429, "ThrottledError", message, headers={"Retry-After": str(seconds)})


def _refused(status: int, code: str, message: str, **members: Any) -> ArmError:
    return ArmError(status, code, message, correlationId=str(uuid.uuid4()), **members)
