"""An event subscription: its filter, endpoint, schema and retry policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.eventgrid.filters import EventFilter
from simulator.eventgrid.retry import EndpointType, RetryPolicy
from simulator.eventgrid.schema import EventSchema


@dataclass(frozen=True, slots=True)
class Subscription:
    """The defaults are Azure's. The endpoint may contain a key, so the repr leaves it out."""

    name: str
    endpoint: str = field(repr=False)
    schema: EventSchema = EventSchema.EVENT_GRID
    filter: EventFilter = field(default_factory=EventFilter)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    endpoint_type: EndpointType = EndpointType.AZURE_FUNCTION
    max_events_per_batch: int = 1
    dead_letter: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_events_per_batch <= 5000:
            raise ValueError(f"max_events_per_batch must be 1 to 5000, not {self.max_events_per_batch}")

    @property
    def batched(self) -> bool:
        return self.max_events_per_batch > 1
