"""The signal matrix as it is asked of what was deployed: where that is, with whose token, and without a stack here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest

from tests.acceptance.deployed import Deployed, order_of
from tests.conftest import ROOT
from tests.contract.pipeline_steps import set_up

URLS = {f"SMOKE_{name}_URL": f"https://{name.lower()}.test/" for name in ("GATEWAY", "PROMETHEUS", "LOKI", "JAEGER")}
CLIENT = {"SMOKE_CLIENT_ID": "smoke", "SMOKE_CLIENT_SECRET": "hush"}


class Issuer(BaseHTTPRequestHandler):
    asked: list[tuple[str, dict[str, list[str]]]]  # authorization, form

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        type(self).asked.append((self.headers["authorization"], parse_qs(body)))
        answer = json.dumps({"access_token": "made"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    Issuer.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()
        thread.join()


def test_without_addresses_the_stack_of_the_checkout_is_meant() -> None:
    assert Deployed.from_environment({"SMOKE_TOKEN": "t", "PROMETHEUS_URL": "http://prometheus.test"}) is None


@pytest.mark.parametrize("left_out", URLS)
def test_an_address_that_is_left_out_is_named(left_out: str) -> None:
    given = {name: url for name, url in URLS.items() if name != left_out}
    with pytest.raises(ValueError, match=f"^{left_out} not given$"):
        Deployed.from_environment({**given, "SMOKE_TOKEN": "t"})


def test_so_is_a_token_and_who_would_get_one() -> None:
    with pytest.raises(ValueError, match=r"^SMOKE_TOKEN_URL not given \(or SMOKE_TOKEN\)$"):
        Deployed.from_environment({**URLS, **CLIENT})


def test_a_token_that_is_given_is_used_and_not_shown() -> None:
    deployed = Deployed.from_environment({**URLS, "SMOKE_TOKEN": "given"})
    assert deployed
    with deployed.sign_in() as user:
        assert user.headers["authorization"] == "Bearer given"
        assert user.base_url == "https://gateway.test"
    assert "given" not in repr(deployed)


def test_else_the_client_asks_for_one(issuer: str) -> None:
    deployed = Deployed.from_environment({**URLS, **CLIENT, "SMOKE_TOKEN_URL": issuer, "SMOKE_SCOPE": "a b"})
    assert deployed
    with deployed.sign_in() as user:
        assert user.headers["authorization"] == "Bearer made"
    [(authorization, form)] = Issuer.asked
    assert authorization == "Basic c21va2U6aHVzaA=="
    assert form == {"grant_type": ["client_credentials"], "scope": ["a b"]}


def test_whoever_orders_and_what_can_be_said() -> None:
    assert order_of(4711, {}) == {"user_id": 7, "items": [{"product_id": 4711, "quantity": 1}]}
    said = {"SMOKE_USER": "3", "SMOKE_PRODUCT": "9"}
    assert order_of(4711, said) == {"user_id": 3, "items": [{"product_id": 9, "quantity": 1}]}


def collected(**environment: str) -> set[str]:
    """The questions of the matrix that would be asked."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("SMOKE_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "tests/acceptance/test_signals.py"],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}


def test_both_are_asked_the_same_but_for_what_only_one_of_them_can_answer() -> None:
    here, there = collected(), collected(**URLS, SMOKE_TOKEN="t", SMOKE_VERSION="1.4.0")
    version = {
        f"test_the_version_that_was_deployed_is_the_one_that_answers[{job}]" for job in ("api", "worker", "payments")
    }
    others = {f"test_every_part_is_scraped[{job}]" for job in ("loki", "jaeger", "alertmanager")}
    assert there - here == version
    assert here - there == others | {"test_a_request_is_visible_in_every_backend_within_two_seconds"}
    for signal in ("metrics", "traces", "logs"):
        assert {f"test_{signal}[{service}]" for service in ("gateway", "api", "payments", "worker")} <= here & there


def test_the_step_passes_on_where_and_which_version() -> None:
    given = {f"{name}_URL": f"https://{name.lower()}.test" for name in ("GATEWAY", "PROMETHEUS", "LOKI", "JAEGER")}
    with set_up() as bench:
        command = bench.make("smoke-deployed", "--dry-run", VERSION="1.4.0", **given).stdout
    for name, url in {f"SMOKE_{name}": url for name, url in given.items()}.items():
        assert f"{name}='{url}'" in command
    assert "SMOKE_VERSION='1.4.0'" in command


@pytest.mark.parametrize("left_out", ["GATEWAY_URL", "PROMETHEUS_URL", "LOKI_URL", "JAEGER_URL"])
def test_the_step_asks_nothing_of_the_checkout_when_it_is_not_told_where(left_out: str) -> None:
    given = {name: "http://127.0.0.1:1" for name in ("GATEWAY_URL", "PROMETHEUS_URL", "LOKI_URL", "JAEGER_URL")}
    with set_up() as bench:
        done = bench.make("smoke-deployed", **{**given, left_out: ""})
    assert done.returncode != 0
    assert "say GATEWAY_URL, PROMETHEUS_URL, LOKI_URL and JAEGER_URL" in done.stderr
