"""The texts of the queries: Microsoft's Kusto parser accepts them, and no name can end its literal."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.azure import heartbeats
from onboarding.azure.arm import graph_queries
from simulator.arm.kusto import Refused, Row, evaluate

ROOT = Path(__file__).parents[3]
PARSER = ROOT / "node_modules" / "@kusto" / "language-service-next"
NODE = shutil.which("node")
NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
HOSTILE = ["it's", "a\\", "a') | take 1 //", "a\n", "a\0", 'a"', "a|b", "", "a//b"]

needs_parser = pytest.mark.skipif(
    NODE is None or not PARSER.is_dir(), reason="node or @kusto/language-service-next is missing: run `make setup`"
)


def complaints(query: str) -> list[str]:
    """The errors that Microsoft's parser finds in a query."""
    command = [str(NODE), str(Path(__file__).with_name("parse_kusto.cjs")), str(PARSER)]
    answer = subprocess.run(command, input=query, capture_output=True, text=True, check=True)
    said: list[str] = json.loads(answer.stdout)
    return said


@needs_parser
@pytest.mark.parametrize(
    "query",
    [
        graph_queries.MACHINES,
        graph_queries.ASSOCIATIONS,
        graph_queries.members(["corp", "Team (1)", "ü"]),
        heartbeats.query([], NOW),
        heartbeats.query(["/subscriptions/1/web-1", *HOSTILE], NOW),
    ],
)
def test_microsofts_parser_takes_every_query(query: str) -> None:
    assert complaints(query) == []


@needs_parser
@pytest.mark.parametrize(
    "query", ["resources | project nam", "resources | prject id", "nowhere", "resources | where ("]
)
def test_microsofts_parser_reports_errors(query: str) -> None:
    assert complaints(query)


@pytest.mark.parametrize("query", [graph_queries.MACHINES, graph_queries.ASSOCIATIONS, graph_queries.members(["corp"])])
def test_a_query_can_be_paged(query: str) -> None:
    project, order = query.strip().splitlines()[-2:]
    assert project.startswith("| project id, ")
    assert order.startswith("| order by id asc")


@pytest.mark.parametrize("name", HOSTILE)
def test_characters_that_could_end_a_literal_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has characters that a name cannot have"):
        graph_queries.members([name])


@given(st.from_regex(r"[-\w.() ]+", fullmatch=True))
def test_a_literal_is_exactly_that_text(text: str) -> None:
    rows: list[Row] = [{"name": text}, {"name": f"{text}x"}]
    found = evaluate(f"t | where name in ({graph_queries.literal(text)}, 'other')", {"t": (("name",), lambda: rows)})
    assert found == [rows[0]]


@pytest.mark.parametrize(
    "query",
    [
        "elsewhere",
        "t |",
        "t | take 5",
        "t | where",
        "t | where nam == 'x'",
        "t | where name == 'x",
        "t | where name != 'x'",
        "t | extend a = strcat(name, 'x')",
        "t | project name, nothing",
        "t | join kind=inner (t) on name",
        "t | join kind=leftouter (t | project name) on id",
        "t | summarize count() by name",
        "t | order by name desc",
        "t | where name == 'x' or name == 'y'",
        "t extra",
    ],
)
def test_the_simulator_refuses_what_it_does_not_evaluate(query: str) -> None:
    with pytest.raises(Refused):
        evaluate(query, {"t": (("id", "name"), lambda: [{"id": "1", "name": "x"}])})
