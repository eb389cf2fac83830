"""Event Grid on the laptop: delivery and retries as in Azure, and faults on request."""

from __future__ import annotations

from simulator.eventgrid.dead_letters import DeadLetters
from simulator.eventgrid.delivery import Counters, Options
from simulator.eventgrid.endpoint import HandshakeFailed
from simulator.eventgrid.faults import Faults
from simulator.eventgrid.filters import EventFilter, StringIn
from simulator.eventgrid.grid import EventGrid
from simulator.eventgrid.retry import EndpointType, RetryPolicy
from simulator.eventgrid.schema import EventSchema
from simulator.eventgrid.subscription import Subscription
from simulator.eventgrid.topic import CustomTopic

__all__ = [
    "Counters",
    "CustomTopic",
    "DeadLetters",
    "EndpointType",
    "EventFilter",
    "EventGrid",
    "EventSchema",
    "Faults",
    "HandshakeFailed",
    "Options",
    "RetryPolicy",
    "StringIn",
    "Subscription",
]
