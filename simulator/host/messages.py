"""The messages between host and worker library, without gRPC.

The library takes the classes from its caller and reads attributes only, so plain objects serve; `WhichOneof`
is the one protobuf method that it calls.
"""

from __future__ import annotations

import types
from typing import Any, ClassVar


class Message:
    """An object with arbitrary attributes."""

    alternatives: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)

    def WhichOneof(self, group: str) -> str | None:
        return next((name for name in self.alternatives if self.__dict__.get(name) is not None), None)


class TypedData(Message):
    """One value: text, JSON text, bytes, or an HTTP request or response; without any of these it is empty."""

    alternatives = ("json", "string", "bytes", "http", "int", "double")

    def __init__(self, **member: Any) -> None:
        super().__init__(**{**dict.fromkeys(self.alternatives), **member})


class ParameterBinding(Message):
    alternatives = ("data",)


class StatusResult(Message):
    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1


class BindingInfo(Message):
    undefined: ClassVar[int] = 0
    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2


setattr(BindingInfo, "in", 0)  # a keyword, so it cannot be written above


class RpcHttp(Message):
    """An HTTP request to a function, or its response."""


_PLAIN = (
    "FunctionLoadResponse",
    "FunctionMetadataResponse",
    "InvocationResponse",
    "RpcException",
    "RpcFunctionMetadata",
    "RpcRetryOptions",
    "WorkerInitResponse",
    "WorkerMetadata",
)


def protocol() -> types.SimpleNamespace:
    """The module of message classes that the library expects."""
    own = {cls.__name__: cls for cls in (TypedData, ParameterBinding, StatusResult, BindingInfo, RpcHttp)}
    return types.SimpleNamespace(**own, **{name: type(name, (Message,), {}) for name in _PLAIN})
