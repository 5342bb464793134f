"""Every route of the public API, asked in every way that needs no backend: what it answers is what is described."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import APIRouter

from service import faults as fault
from service import health
from service.app import MAX_BODY_BYTES, assemble
from service.catalog import http as catalog_http
from service.catalog.model import CURRENCY, Product
from service.data.cache import build_cache_client
from service.data.engines import DatabaseUnavailable
from service.edge.description import describe_answers
from service.edge.gate import Gate
from service.edge.pagination import Cursors
from service.edge.quota import Policy
from service.edge.ratelimit import RateLimits
from service.orders import http as orders_http
from service.orders.model import Claim, IdempotencyKey, Item, KeyInUse, Line, Order, OrderStatus
from service.settings import Settings
from service.telemetry.testing import Recorded, record
from service.users import http as users_http
from service.users.model import User
from service.versions import VERSIONS

pytestmark = pytest.mark.anyio

ORDER_ID = UUID("0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11")
SECRET = "hunter2"
PROBLEM = "application/problem+json"
# Of HTTP itself, and of every answer with a body.
NOT_DESCRIBED = {"content-type", "content-length", "allow"}


class Shop:
    """Keeps things in memory. ``fails``: what it raises instead; ``nonsense``: it tells what no form allows."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.nonsense = False
        self.user = User(7, "Ada Keller", "ada.keller.7@example.com", 3)
        self.known: Claim | None = None

    def _tell(self, what: Any, **wrong: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return replace(what, **wrong) if self.nonsense else what

    def _product(self, product_id: int) -> Product:
        return self._tell(Product(product_id, "Desk", 24_900, 5), stock=SECRET)

    def _order(self, order_id: UUID) -> Order:
        order = Order(
            order_id, 7, OrderStatus.PLACED, [Item(42, 1, 24_900)], 24_900, CURRENCY, datetime(2026, 1, 31, tzinfo=UTC)
        )
        return self._tell(order, user_id=SECRET)


class Users(Shop):
    async def find(self, user_id: int) -> User | None:
        return self._tell(self.user, name=None) if user_id == 7 else None

    async def change(self, user_id: int, versions: Collection[int] | None, changes: dict[str, str]) -> User | None:
        if versions is not None and self.user.version not in versions:
            return None
        self.user = replace(self.user, **changes, version=self.user.version + 1)
        return self._tell(self.user, name=None)


class Products(Shop):
    async def find(self, product_id: int) -> Product | None:
        return self._product(product_id) if product_id == 42 else None

    async def list_after(self, after: int, limit: int) -> Sequence[Product]:
        return [self._product(number) for number in range(after + 1, after + limit + 1)]


class Orders(Shop):
    async def reserve(self, order_id: UUID, user_id: int, lines: Sequence[Line]) -> Sequence[Item]:
        return [Item(line.product_id, line.quantity, 24_900) for line in lines]

    async def release(self, order_id: UUID, *, charged: bool) -> None: ...

    async def place(
        self, order_id: UUID, user_id: int, items: Sequence[Item], currency: str, claim: Claim | None = None
    ) -> Order:
        return self._order(order_id)

    async def find(self, order_id: UUID) -> Order | None:
        return self._order(order_id) if order_id == ORDER_ID else None

    async def release_expired(self, older_than_s: float) -> int:
        raise NotImplementedError

    async def fulfil(self, order_id: UUID) -> float | None:
        raise NotImplementedError


class Keys(Shop):
    async def claim(self, key: IdempotencyKey) -> Claim:
        if key.value == "in-use":
            raise KeyInUse("another request with this key is under way")
        return self._tell(Claim(uuid4()))

    async def abandon(self, claim: Claim) -> None: ...


class Payments(Shop):
    async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None: ...

    async def cancel(self, order_id: UUID) -> None: ...


class Api:
    """The api as it is put together, but for what keeps its things."""

    def __init__(self, recorded: Recorded, quota: Policy) -> None:
        self.recorded = recorded
        self.users, self.products, self.orders, self.keys = Users(), Products(), Orders(), Keys()
        nowhere = build_cache_client("redis://127.0.0.1:1/0", pool_size=1)  # so it counts for itself
        gate = Gate(RateLimits(nowhere, quota, {}), None)
        routers: list[APIRouter] = []
        for version in VERSIONS:
            routers += [
                users_http.build_router(self.users, version, gate),
                catalog_http.build_router(self.products, Cursors("products", ["a key of this test"]), version, gate),
                orders_http.build_router(self.orders, self.keys, Payments(), version, gate),
            ]
        self.app = assemble(
            "tested",
            Settings(database_url="postgresql+asyncpg://nobody@127.0.0.1:1/nothing", otlp_url=""),
            recorded.telemetry,
            health.Health(),
            fault.Faults((), allowed=False),
            routers=routers,
            versions=VERSIONS,
            closing=[],
        )
        describe_answers(self.app, VERSIONS)
        self.document = self.app.openapi()
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://service"
        )

    @property
    def parts(self) -> list[Shop]:
        return [self.users, self.products, self.orders, self.keys]


@pytest.fixture(scope="module")
def made() -> Iterator[Api]:
    with record() as recorded:
        yield Api(recorded, Policy(100_000, 60))


@pytest.fixture
def api(made: Api) -> Api:
    """As new."""
    for part in made.parts:
        Shop.__init__(part)
    made.recorded.clear()
    return made


A_CHANGE = {"json": {"name": "Ada Lund"}, "headers": {"if-match": "*"}}
AN_ORDER = {"json": {"user_id": 7, "items": [{"product_id": 42, "quantity": 1}]}}
# method and route → how to ask for it so that all is well
WELL: dict[tuple[str, str], dict[str, Any]] = {
    ("get", "/users/{user_id}"): {},
    ("patch", "/users/{user_id}"): A_CHANGE,
    ("get", "/products"): {},
    ("get", "/products/{product_id}"): {},
    ("post", "/orders"): {**AN_ORDER, "headers": {"idempotency-key": "once"}},
    ("get", "/orders/{order_id}"): {},
}
ROUTES = [(method, f"/{version.name}{path}") for version in VERSIONS for method, path in WELL]


def where(route: str) -> str:
    return route.format(user_id=7, product_id=42, order_id=ORDER_ID)


async def ask(api: Api, method: str, route: str, **changes: Any) -> httpx2.Response:
    """Ask well, but for ``changes``; ``to``: another path of the same route."""
    given = {**WELL[method, "/" + route.split("/", 2)[2]], **changes}
    return await api.http.request(method, given.pop("to", where(route)), **given)


def check(api: Api, answer: httpx2.Response, method: str, route: str) -> dict[str, Any]:
    """That the document says what was answered; what it says of answers with this status."""
    responses = api.document["paths"][route][method]["responses"]
    assert str(answer.status_code) in responses, (method, route, answer.status_code, answer.text)
    described: dict[str, Any] = responses[str(answer.status_code)]
    said = {name.lower() for name in described["headers"]}
    assert set(answer.headers) - NOT_DESCRIBED <= said, (method, route, answer.status_code)
    for name in set(answer.headers) & said:
        header = api.document["components"]["headers"][next(key for key in described["headers"] if key.lower() == name)]
        assert re.search(header["schema"].get("pattern", ""), answer.headers[name]), (name, answer.headers[name])
    assert answer.headers.get("content-type") in described.get("content", {None: {}}), (method, route, answer.headers)
    if answer.headers.get("content-type") == PROBLEM:
        problem = answer.json()
        examples = described["content"][PROBLEM]["examples"]
        assert problem["type"] in {example["value"]["type"] for example in examples.values()}
        assert problem.keys() - {"errors"} == next(iter(examples.values()))["value"].keys()
        assert (problem["status"], problem["instance"]) == (answer.status_code, answer.request.url.path)
        assert problem["trace_id"] == answer.headers["x-trace-id"]
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert answer.headers.get_list("cache-control") == ["no-store"]
    return described


def test_every_route_is_asked_here(api: Api) -> None:
    described = {(method, path) for path, methods in api.document["paths"].items() for method in methods}
    assert described == set(ROUTES)


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_when_all_is_well(api: Api, method: str, route: str) -> None:
    answer = await ask(api, method, route)
    assert answer.status_code == (201 if method == "post" else 200), answer.text
    described = check(api, answer, method, route)
    missing = {name.lower() for name in described["headers"]} - set(answer.headers)
    assert missing <= {"set-cookie"}, "described, and not there"
    if method == "get":
        tag = answer.headers["etag"]
        for condition, status in (("if-none-match", 304), ("if-match", 200)):
            check(api, again := await ask(api, method, route, headers={condition: tag}), method, route)
            assert (again.status_code, bool(again.content)) == (status, status == 200)
        check(api, other := await ask(api, method, route, headers={"if-match": f"W/{tag}"}), method, route)
        assert (other.status_code, other.json()["type"]) == (412, "urn:signalbox:problem:precondition-failed")


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_when_a_part_is_away(api: Api, method: str, route: str) -> None:
    for part in api.parts:
        part.fails = DatabaseUnavailable("the database cannot be reached")
    answer = await ask(api, method, route)
    check(api, answer, method, route)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_when_the_service_is_broken_the_answer_is_dressed_as_any_other(api: Api, method: str, route: str) -> None:
    for part in api.parts:
        part.fails = RuntimeError(f"password={SECRET}")
    answer = await ask(api, method, route)
    described = check(api, answer, method, route)
    assert (answer.status_code, SECRET in answer.text) == (500, False)
    assert {name.lower() for name in described["headers"]} <= set(answer.headers), "described, and not there"


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_an_answer_that_is_not_in_its_form_is_not_sent_and_is_told_to_us(
    api: Api, method: str, route: str
) -> None:
    """Answers are validated on every route: a violation is a 500, a log line with the trace, and counted as bad."""
    for part in (api.users, api.products, api.orders):
        part.nonsense = True
    before = api.recorded.requests(route, 500, "bad", method.upper())
    answer = await ask(api, method, route)
    check(api, answer, method, route)
    assert (answer.status_code, SECRET in answer.text) == (500, False)
    assert api.recorded.requests(route, 500, "bad", method.upper()) == before + 1
    line = api.recorded.line("unhandled exception")
    assert line["exception.type"].endswith("ResponseValidationError")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in api.recorded.everything()


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_when_the_request_is_wrong(api: Api, method: str, route: str) -> None:
    wrong: list[tuple[int, dict[str, Any]]] = []
    if "{" in route:
        wrong += [(422, {"to": where(route).rpartition("/")[0] + "/none"})]
        absent = uuid4() if "order" in route else 8
        wrong += [(404, {"to": where(route).rpartition("/")[0] + f"/{absent}"})]
    if method != "get":
        kind = {"content-type": "application/json"}
        wrong += [
            (422, {"json": {}}),
            (400, {"content": b'{"\xff": 1}', "json": None, "headers": kind}),
            (413, {"content": b" " * (MAX_BODY_BYTES + 1), "json": None, "headers": kind}),
        ]
    if method == "patch":
        wrong += [
            (428, {"headers": {}}),
            (400, {"headers": {"if-match": "3"}}),
            (412, {"headers": {"if-match": '"2", W/"3"'}}),
        ]
    if method == "post":
        wrong += [(409, {"headers": {"idempotency-key": "in-use"}})]
    for status, changes in wrong:
        answer = await ask(api, method, route, **changes)
        assert answer.status_code == status, (changes, answer.text)
        check(api, answer, method, route)


async def test_when_it_is_too_often() -> None:
    with record() as recorded:
        api = Api(recorded, Policy(1, 600))
        for method, route in ROUTES:
            first, second = [await ask(api, method, route) for _ in range(2)]
            check(api, second, method, route)
            assert (first.is_success, second.status_code) == (True, 429)
            assert int(second.headers["retry-after"]) > 0


async def test_a_change_is_made_when_one_of_the_states_that_it_names_is_the_present_one(api: Api) -> None:
    route = "/v2/users/{user_id}"
    changed = await ask(api, "patch", route, headers=[("if-match", '"1", "3"'), ("if-match", '"9"')])
    assert (changed.status_code, changed.headers["etag"]) == (200, '"4"')
    assert (await ask(api, "patch", route, headers={"if-match": "*"})).headers["etag"] == '"5"'
    assert (await ask(api, "patch", route, headers={"if-match": '"x5", "05"'})).status_code == 412


async def test_what_may_be_done_with_a_path_is_said_of_all_its_routes(api: Api) -> None:
    answer = await api.http.delete("/v1/users/7")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, PATCH")
    assert answer.headers["deprecation"].startswith("@")
