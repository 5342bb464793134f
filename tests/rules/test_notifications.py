"""Who is told what: routes judged by amtool, and the real Alertmanager telling stand-ins of the five systems."""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from slo.compiler import compile_tree
from tests.conftest import ROOT
from tests.rules.conftest import find_tool

LIBRARY = ROOT / "tests/golden/library"
OURS = ROOT / "observability/alertmanager/_generated/alertmanager.yml"
THEIRS = LIBRARY / "expected/alertmanager/alertmanager.yml"
PAGE, TICKET = "tier=page", "tier=ticket"


@pytest.mark.parametrize("config", [OURS, THEIRS], ids=["ours", "the library's"])
def test_alertmanager_accepts_the_configuration(amtool: Path, config: Path) -> None:
    outcome = subprocess.run([amtool, "check-config", config], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        # by policy: every target of every policy that asks for this tier
        ((PAGE, "alertname=ReturnsRecordedBurnPage", "slo=returns-recorded", "team=desk"), "desk-phone,librarian"),
        ((PAGE, "alertname=ReturnsRecordedNoData", "slo=returns-recorded", "team=desk"), "desk-phone,librarian"),
        ((TICKET, "alertname=ReturnsRecordedBurnTicket", "slo=returns-recorded"), "desk-chat-firing-only"),
        # by team and tier
        ((PAGE, "slo=loans-recorded-promised", "team=desk"), "desk-phone"),
        ((TICKET, "slo=loans-recorded-promised", "team=desk"), "desk-chat"),
        ((PAGE, "slo=search-speed", "team=catalogue"), "catalogue-duty"),
        ((TICKET, "slo=search-speed", "team=catalogue"), "desk-chat"),
        # what nobody in particular hears of
        ((PAGE, "team=platform"), "archive"),
        ((TICKET, "team=platform"), "archive"),
        (("alertname=Unlabelled",), "archive"),
        (("tier=watchdog", "team=platform"), "deadman"),
    ],
)
def test_alerts_go_by_policy_then_team_then_to_everyone(amtool: Path, labels: tuple[str, ...], receivers: str) -> None:
    command = [amtool, "config", "routes", "test", f"--config.file={THEIRS}", *labels]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.stdout.strip() == receivers, outcome.stdout + outcome.stderr


@dataclass
class Heard:
    """What the stand-ins were sent, by path (or `mail`)."""

    bodies: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, place: str, body: Any) -> None:
        self.bodies.setdefault(place, []).append(body)

    def wait(self, place: str, count: int = 1) -> list[Any]:
        deadline = time.monotonic() + 20
        while len(self.bodies.get(place, ())) < count:
            assert time.monotonic() < deadline, f"nothing came to {place}; heard {sorted(self.bodies)}"
            time.sleep(0.02)
        return self.bodies[place]


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a client needs to hand over a message."""

    heard: Heard

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].upper()
            if verb == "DATA":
                self._say("354 go on")
                lines = []
                while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(text.removeprefix(".") if text.startswith("..") else text)
                self.heard.add("mail", message_from_string("\n".join(lines), policy=policy.default))
            if verb == "EHLO":
                self._say("250 here")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Systems(BaseHTTPRequestHandler):
    heard: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.add(self.path, json.loads(body) if body else None)
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b'{"status":"success","ok":true}')

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def alertmanager(heard: Heard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real one with the library's configuration at clock 20, its secrets in files, its systems on this machine."""
    folder = tmp_path_factory.mktemp("alertmanager")
    Systems.heard = Mailbox.heard = heard
    web = ThreadingHTTPServer(("127.0.0.1", 0), Systems)
    mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox)
    for server in (web, mail):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{web.server_address[1]}"
    secrets = {
        "pagerduty_routing_key": "routing-key-of-the-desk",
        "slack_address": f"{here}/slack",
        "opsgenie_api_key": "opsgenie-key",
        "archive_address": f"{here}/archive",
        "mail_password": "unused",
        "pager_deadman_url": f"{here}/deadman",
    }
    for name, value in secrets.items():
        (folder / name).write_text(value)
    definitions = folder / "definitions"
    definitions.mkdir()
    for path in (LIBRARY / "definitions").iterdir():
        text = path.read_text().replace("/run/secrets", str(folder)).replace("https://api.eu.opsgenie.com", here)
        text = text.replace(
            "pagerduty_routing_key}", f"pagerduty_routing_key, signalbox.dev/address: {here}/pagerduty}}"
        )
        text = text.replace("mail.library.example:587", f"127.0.0.1:{mail.server_address[1]}")
        text = re.sub(r"\n +signalbox.dev/(username: alerts|quiet-hours: .*|secret-file: \S*mail_password)", "", text)
        (definitions / path.name).write_text(text)
    for name, text in compile_tree(definitions, clock=20).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "templates").mkdir()
    (folder / "templates/addresses.tmpl").write_text(
        '{{ define "signalbox.address.runbooks" }}https://books.example/runbooks{{ end }}'
        '{{ define "signalbox.address.dashboards" }}https://grafana.example{{ end }}'
        '{{ define "signalbox.address.pages" }}https://pager.example{{ end }}'
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(find_tool("alertmanager", "alertmanager")),
        f"--config.file={folder}/alertmanager/alertmanager.yml",
        f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=https://alerts.example",
        "--cluster.listen-address=",
    ]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, stderr=log, stdout=log, env={**os.environ, "GOGC": "50"})
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                if httpx.get(f"{url}/-/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        for server in (web, mail):
            server.shutdown()
            server.server_close()


def alert(name: str, tier: str, slo: str, service: str, team: str, *, over: bool = False) -> dict[str, Any]:
    now = datetime.now(UTC)
    started = datetime(2026, 3, 14, 3, 0, 7, tzinfo=UTC)
    return {
        "labels": {"alertname": name, "tier": tier, "slo": slo, "service": service, "team": team},
        "annotations": {
            "summary": "Returns recorded: the error budget burns fast",
            "description": "12 % of the events were bad in the last 5m; 1 % may be, over 30d.",
            "journey": "A reader brings a <book> back.",
            "impact": "Readers get reminders of books that they have brought back.",
            "budget_remaining": "61.2%",
            "budget_lasts": "9h 12m 0s",
            "dashboard": f"/d/signalbox-slo?var-slo={slo}",
            "worst_route": "POST /returns (87 bad)",
            "worst_version": "1.4.0 (31.2%), 1.3.9 (0%)",
            "worst_instance": "desk-2 (31.2%), desk-1 (0%)",
            "suspect": "stock: 28.4% of the calls fail",
            "changed": "desk 1.4.0 deployed. Fault <slow> is on. ",
        },
        "startsAt": started.isoformat(),
        "endsAt": (now - timedelta(seconds=1) if over else now + timedelta(minutes=5)).isoformat(),
    }


def send(url: str, *alerts: dict[str, Any]) -> None:
    answer = httpx.post(f"{url}/api/v2/alerts", json=list(alerts))
    assert answer.status_code == 200, answer.text


RETURNS = ("ReturnsRecordedBurnPage", "page", "returns-recorded", "returns", "desk")
WORST = "POST /returns (87 bad) · version 1.4.0 (31.2%), 1.3.9 (0%) · instance desk-2 (31.2%), desk-1 (0%)"
SUSPECT = "stock: 28.4% of the calls fail"
FACTS = [
    *("Returns recorded: the error budget burns fast", "2026-03-14 03:00:07 UTC", "61.2%", "9h 12m 0s"),
    *(WORST, SUSPECT, "desk 1.4.0 deployed."),
]
PAGE_OF = "https://pager.example/alerts?fingerprint="  # and the alert's fingerprint
SINCE = "from=1773453607000&to=now"  # an hour before the alert
LINKS = {
    "Trace": re.compile(re.escape(PAGE_OF) + "[0-9a-f]{16}&to=trace"),
    "Logs of it": re.compile(re.escape(PAGE_OF) + "[0-9a-f]{16}&to=logs"),
    "Runbook": re.compile("https://books.example/runbooks/ReturnsRecordedBurnPage"),
    "Dashboard": re.compile(re.escape(f"https://grafana.example/d/signalbox-slo?var-slo=returns-recorded&{SINCE}")),
    "Silence": re.compile(r"https://alerts.example/#/silences/new\?filter=%7Balertname%3D%22Returns.+%7D"),
    "Changes": re.compile(re.escape(PAGE_OF) + "[0-9a-f]{16}&to=changes"),
}


def test_a_page_says_what_is_broken_for_whom_since_when_and_what_is_left(alertmanager: str, heard: Heard) -> None:
    send(alertmanager, alert(*RETURNS))
    (event,) = heard.wait("/pagerduty")
    assert event["routing_key"] == "routing-key-of-the-desk"
    assert event["payload"]["summary"] == "[PAGE] returns: Returns recorded: the error budget burns fast"
    assert (event["payload"]["severity"], event["payload"]["class"]) == ("critical", "ReturnsRecordedBurnPage")
    details = event["payload"]["custom_details"]
    assert details["For whom"].startswith("A reader brings a <book> back. Readers get reminders")
    assert (details["Since"], details["Budget left"], details["Lasts for"]) == tuple(FACTS[1:4])
    assert details["Broken"].startswith("Returns recorded – the error budget burns fast. 12 % of the events")
    assert (details["Worst"], details["Suspected"]) == (WORST, SUSPECT.replace(": ", " – "))
    assert details["Changed"].startswith("desk 1.4.0 deployed.")
    assert [link["text"] for link in event["links"]] == list(LINKS)
    assert [link for link in event["links"] if not LINKS[link["text"]].fullmatch(link["href"])] == []

    (mail,) = heard.wait("mail")
    assert mail["subject"] == "[PAGE] returns: Returns recorded: the error budget burns fast"
    plain, html = (mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for text in (plain, unescape(html)):
        assert [fact for fact in FACTS if fact not in text] == []
        assert [name for name, link in LINKS.items() if not link.search(text)] == []
    assert "A reader brings a &lt;book&gt; back." in html


def test_a_ticket_goes_to_the_chat_and_the_end_of_an_alert_is_told_where_the_policy_says(
    alertmanager: str, heard: Heard
) -> None:
    send(alertmanager, alert("LoansRecordedPromisedBurnTicket", "ticket", "loans-recorded-promised", "loans", "desk"))
    (message,) = heard.wait("/slack")[0]["attachments"]
    assert message["title"].startswith("[TICKET] loans: ")
    assert message["color"] == "warning"
    assert [fact for fact in FACTS if fact not in message["text"]] == []
    assert [action["text"] for action in message["actions"]] == list(LINKS)[:5]
    assert message["actions"][3]["url"] == (
        f"https://grafana.example/d/signalbox-slo?var-slo=loans-recorded-promised&{SINCE}"
    )
    assert message["title_link"].startswith(PAGE_OF)

    send(alertmanager, alert(*RETURNS))
    heard.wait("/pagerduty")
    send(alertmanager, alert(*RETURNS, over=True))
    assert heard.wait("/pagerduty", 2)[-1]["event_action"] == "resolve"


def test_opsgenie_and_webhooks_are_told(alertmanager: str, heard: Heard) -> None:
    send(
        alertmanager,
        alert("SearchSpeedBurnPage", "page", "search-speed", "search", "catalogue"),
        alert("ServiceDown", "page", "", "mail", "platform"),
    )
    (page,) = heard.wait("/v2/alerts")
    assert page["priority"] == "P1"
    assert page["details"]["Budget left"] == "61.2%"
    assert heard.wait("/archive")[0]["alerts"][0]["labels"]["alertname"] == "ServiceDown"


def test_a_page_silences_its_ticket_and_what_depends_on_the_service(alertmanager: str, heard: Heard) -> None:
    slo = "loans-recorded-aimed-at"
    send(alertmanager, alert("LoansRecordedAimedAtBurnPage", "page", slo, "loans", "desk"))
    send(
        alertmanager,
        alert("LoansRecordedAimedAtBurnTicket", "ticket", slo, "loans", "desk"),
        alert("ReturnsRecordedNoData", "page", "returns-recorded", "returns", "desk"),
        alert("DeskDown", "page", "", "returns", "desk"),
    )
    shown = httpx.get(f"{alertmanager}/api/v2/alerts", params={"active": "true"}).json()
    held = {one["labels"]["alertname"]: bool(one["status"]["inhibitedBy"]) for one in shown}
    assert held["LoansRecordedAimedAtBurnTicket"], "the ticket says nothing that its page does not"
    assert held["ReturnsRecordedNoData"], "returns depends on loans"
    assert not held["LoansRecordedAimedAtBurnPage"]
    assert not held["DeskDown"], "what is no promise says something of its own"


def test_nothing_that_is_secret_is_in_the_configuration(alertmanager: str) -> None:
    shown = httpx.get(f"{alertmanager}/api/v2/status").json()["config"]["original"]
    assert "routing_key_file" in shown
    assert "routing-key-of-the-desk" not in shown
    assert "opsgenie-key" not in shown
