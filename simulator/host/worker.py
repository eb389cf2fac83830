"""The app under the real worker library: loads `function_app.py` once, and runs single invocations.

The library keeps one app per process and expects the working folder and the import path to be set for it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import azure_functions_runtime as runtime

from simulator.host.messages import Message, ParameterBinding, StatusResult, TypedData, protocol

_SETTING = re.compile(r"%([^%\s]+)%")
_SUPPORTED = frozenset({"eventGridTrigger", "queueTrigger", "timerTrigger", "httpTrigger", "http"})


class LoadFailed(Exception):
    """The app has no usable functions: nothing can be served."""


class UnresolvedSetting(Exception):
    """A binding names a setting that does not exist."""


@dataclass(frozen=True, slots=True)
class Function:
    """One indexed function: its trigger is the binding that is not an output."""

    name: str
    id: str
    bindings: tuple[Mapping[str, Any], ...]

    @property
    def trigger(self) -> Mapping[str, Any]:
        return next(binding for binding in self.bindings if str(binding["type"]).endswith("Trigger"))

    @property
    def trigger_type(self) -> str:
        return str(self.trigger["type"])

    @property
    def parameter(self) -> str:
        return str(self.trigger["name"])

    def resolved(self, name: str) -> str:
        """A property of the trigger, with `%SETTING%` replaced from the environment, as in the real host."""
        return _SETTING.sub(_setting, str(self.trigger.get(name) or ""))

    def unsupported(self) -> str | None:
        """The first binding that this host does not serve."""
        return next((str(b["type"]) for b in self.bindings if b["type"] not in _SUPPORTED), None)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one invocation; `message` and `stack` are set if it failed."""

    succeeded: bool
    value: Any = None
    message: str = ""
    stack: str = field(default="", repr=False)


class Worker:
    """The loaded app; make it with `load`."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = {function.name: function for function in functions}

    async def run(
        self, function: Function, invocation_id: str, data: TypedData, metadata: Mapping[str, TypedData]
    ) -> Result:
        """Run one invocation; an exception of the function becomes a failed result."""
        response = await runtime.invocation_request(
            _request(
                invocation_request=Message(
                    invocation_id=invocation_id,
                    function_id=function.id,
                    trigger_metadata=metadata,
                    input_data=[ParameterBinding(name=function.parameter, data=data)],
                    trace_context=Message(trace_parent="", trace_state="", attributes={}),
                    retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
                )
            )
        )
        if response.result.status == StatusResult.Success:
            return Result(True, response.return_value)
        exception = response.result.exception
        return Result(False, None, exception.message, exception.stack_trace)


async def load(app: Path) -> Worker:
    """Load the app in its own folder; LoadFailed has the reason."""
    if not (app / "function_app.py").is_file():
        raise LoadFailed(f"{app} has no function_app.py")
    os.chdir(app)
    sys.path.insert(0, str(app))
    runtime.start_threadpool_executor()
    init = Message(capabilities={}, function_app_directory=str(app))
    response = await runtime.worker_init_request(_request(worker_init_request=init))
    if response.result.status != StatusResult.Success:
        exception = response.result.exception
        raise LoadFailed(f"{exception.message}\n{exception.stack_trace}")
    metadata = await runtime.functions_metadata_request(_request())
    if not metadata.function_metadata_results:
        raise LoadFailed("function_app.py registers no functions")
    return Worker([_function(entry) for entry in metadata.function_metadata_results])


def _request(**members: Any) -> Message:
    return Message(request=Message(**members), properties={"protos": _PROTOCOL, "host": "127.0.0.1"})


_PROTOCOL = protocol()


def _function(metadata: Any) -> Function:
    return Function(
        metadata.name, metadata.function_id, tuple(json.loads(binding) for binding in metadata.raw_bindings)
    )


def _setting(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise UnresolvedSetting(f"'{match[0]}' does not resolve to a value: there is no setting {match[1]}")
    return value
