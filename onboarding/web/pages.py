"""From a request to its answer: who asks, for which view or action, and what it shows.

The page works without a script; with one, parts of it are exchanged instead of the whole. Every address and form is
ours: nothing that a request names becomes a path, a template or a part of a page without being escaped.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote, unquote

from msgspec import Struct

from onboarding.app import Application
from onboarding.domain.errors import StorageError
from onboarding.domain.masking import cut, mask
from onboarding.web import actions
from onboarding.web.access import OPERATOR, SIGN_IN, Person, Refusal, cross_site, who
from onboarding.web.answers import Answer, redirect
from onboarding.web.commands import command_of
from onboarding.web.exports import as_csv, as_json
from onboarding.web.rendering import render, static_files
from onboarding.web.site import BadQuery, NotFound, Query, Site
from onboarding.web.view_list import VIEWS, View
from onboarding.web.views.row_record import COLUMNS

# The base begins every link: one that began with two slashes would lead to another host.
_ADDRESS = re.compile(r"(?P<base>(?:/[\w.-]+)*?/ui)(?:/(?P<name>.*?))?/?", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r"^[a-z]+://[^/?]*", re.IGNORECASE)
_ONE_YEAR = "public, max-age=31536000, immutable"
_LARGEST_FORM = 100_000  # bytes
_FORM = "application/x-www-form-urlencoded"


class Request(Struct, frozen=True):
    """An HTTP request."""

    method: str
    url: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = b""


class _Page(Struct, frozen=True):
    """What all pages of one request have in common."""

    base: str
    """The address of the first page, without a host."""
    person: Person | None
    now: datetime

    def show(self, template: str, title: str, status: int = 200, **context: Any) -> Answer:
        laptop = self.person is not None and not self.person.object_id
        common = {
            "base": self.base,
            "person": self.person,
            "laptop": laptop,
            "may_act": self.person is not None and self.person.may_act,
            "operator": OPERATOR,
            "now": self.now,
            "menu": [view for view in VIEWS.values() if view.in_menu] if self.person else [],
            "version": _version(),
            "title": title,
            "view": None,
        }
        body = render(template, {**common, **context})
        return Answer(body, status, "text/html")

    def refuse(self, refusal: Refusal) -> Answer:
        sign_in = f"{SIGN_IN}?post_login_redirect_uri={quote(self.base, safe='/')}" if refusal.sign_in else ""
        return self.show("refused.html", "Not shown", refusal.status, refusal=refusal, sign_in=sign_in)

    def problem(self, status: int, title: str, text: str) -> Answer:
        return self.show("problem.html", title, status, problem=text)


async def answer(
    request: Request, application: Callable[[], Application], environment: Mapping[str, str], now: datetime
) -> Answer:
    """The answer to any request below `/api/ui`. `application` may raise StorageError; everything else is answered."""
    # The host of the URL is what the request says, and may be none: nothing here needs it.
    path, _, query = _HOST.sub("", request.url).partition("?")
    found = _ADDRESS.fullmatch(path)
    base, name = (found["base"], unquote(found["name"] or "")) if found else ("/api/ui", "")
    if name.startswith("static/"):
        return _static(name.removeprefix("static/"), request)
    person = who(environment, request.headers)
    if isinstance(person, Refusal):
        return _Page(base, None, now).refuse(person)
    page = _Page(base, person, now)
    try:
        if request.method == "POST":
            return await _act(request, name, page, application)
        return await _view(Site(application(), now, Query.read(query)), name, page)
    except BadQuery as error:
        return page.problem(400, "That cannot be read", mask(cut(str(error))))
    except NotFound as error:
        return page.problem(404, "Not found", mask(cut(str(error))))
    except StorageError as error:
        return page.problem(503, "Storage does not answer", mask(cut(str(error))))


async def twin(name: str, query: str, application: Callable[[], Application], now: datetime) -> Answer:
    """What a view shows, as JSON, for programs that have a function key. `overview` is the first page."""
    view = VIEWS.get("" if name == "overview" else name)
    if view is None or not name:
        names = ", ".join(each.name or "overview" for each in VIEWS.values())
        return as_json({"error": f"there is no view of that name; there are {names}"}, 404)
    try:
        return as_json(await view.data(Site(application(), now, Query.read(query))))
    except (BadQuery, NotFound) as error:
        return as_json({"error": mask(cut(str(error)))}, 400 if isinstance(error, BadQuery) else 404)
    except StorageError as error:
        return as_json({"error": mask(cut(str(error)))}, 503)


async def _view(site: Site, name: str, page: _Page) -> Answer:
    if name == "retry":
        data = await actions.retry_preview(site)
        return page.show("retry.html", "Retry: what would be sent", data=data, query=site.query)
    plain, _, form = name.partition(".")
    view = VIEWS.get("" if name == "overview.json" else plain)
    if view is None or form not in ("", "json", "csv") or (form == "csv" and plain != "machines"):
        raise NotFound("there is no such page; choose one from the menu")
    data = await view.data(site)
    if form == "csv":
        return as_csv(COLUMNS, data["rows"], plain)
    if form == "json":
        return as_json(data["rows"] if plain == "machines" else data, name=plain or "overview")
    return page.show(
        f"{view.module}.html",
        _title(view, data),
        view=view,
        data=data,
        query=site.query,
        command=command_of(view, site.query),
        lasts=actions.LASTS,
    )


def _title(view: View, data: Mapping[str, Any]) -> str:
    return str(data["name"]) if view.name == "machine" else view.title


async def _act(request: Request, name: str, page: _Page, application: Callable[[], Application]) -> Answer:
    """Carry out an action: for a person who may, from a form of ours."""
    if (refusal := cross_site(request.headers)) is not None:
        return page.refuse(refusal)
    person = page.person
    if person is None or not person.may_act:
        fix = f"ask for the app role {OPERATOR} in the enterprise application"
        return page.refuse(
            Refusal(403, f"your account may look, and lacks the app role {OPERATOR} to change something", fix)
        )
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != _FORM or len(request.body) > _LARGEST_FORM:
        raise BadQuery("the form cannot be read; use the buttons of the page")
    site = Site(application(), page.now, Query.read(request.body.decode("utf-8", "replace")))
    if name == "retry":
        return page.show("retried.html", "Retried", data=await actions.retry(site, person))
    if name == "check":
        if problem := await actions.check(site, person):
            return page.problem(502, "The machine could not be checked", problem)
        return redirect(f"{page.base}/machine?id={quote(site.query.one('id'))}")
    if name == "pause":
        await actions.pause(site, person)
        return redirect(f"{page.base}/limits")
    if name in _SAYING:
        said = await _SAYING[name](site, person)
        return page.show("done.html", "Done", said=said, back="events" if name == "poison" else "limits")
    raise NotFound("there is no such action; use the buttons of the page")


_SAYING: Mapping[str, Callable[[Site, Person], Awaitable[str]]] = {
    "resume": actions.resume,
    "poison": actions.replay_poison,
}


def _static(name: str, request: Request) -> Answer:
    file = static_files().get(name)
    if file is None or request.method != "GET":
        return Answer(b"not found", 404, "text/plain")
    headers = {"ETag": file.etag, "Cache-Control": _ONE_YEAR, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Answer(b"", 304, file.mimetype, headers)
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        return Answer(file.compressed, 200, file.mimetype, {**headers, "Content-Encoding": "gzip"})
    return Answer(file.content, 200, file.mimetype, headers)


@cache
def _version() -> str:
    try:
        return version("vm-onboarding")
    except PackageNotFoundError:
        return "source"  # in Azure the source runs as it is, without being installed
