"""What the pins say must agree with the recipes, with the release pages and with what the programs print."""

import platform
import re

import pytest

from stack.backends import load_pins
from stack.backends.pins import parse_version
from stack.container.digests import DIGEST

PINS = load_pins()
BUILT = [pin for pin in PINS.values() if pin.build]
RELEASED = [pin for pin in PINS.values() if pin.archive]


def test_every_backend_of_the_stack_is_pinned():
    assert list(PINS) == [
        "prometheus",
        "alertmanager",
        "jaeger",
        "loki",
        "collector",
        "grafana",
        "caddy",
        "valkey",
        "postgres",
        "toxiproxy",
    ]


@pytest.mark.parametrize("pin", PINS.values(), ids=PINS)
def test_every_backend_can_come_from_somewhere_and_says_what_its_absence_costs(pin):
    assert pin.archive or pin.build or pin.wheel
    assert pin.cost
    assert pin.accepts(pin.version)
    assert pin.build is None or pin.accepts(pin.build.version)


@pytest.mark.parametrize("pin", PINS.values(), ids=PINS)
def test_every_image_is_of_the_pinned_version(pin):
    assert re.fullmatch(rf"[a-z./-]+:v?{re.escape(pin.version)}(-alpine)?({DIGEST})?", pin.image), pin.image


@pytest.mark.parametrize("pin", BUILT, ids=lambda pin: pin.name)
def test_the_recipe_requires_the_pinned_module_and_offers_the_pinned_packages(pin):
    recipe = (pin.build.recipe / "go.mod").read_text()
    assert re.search(rf"{re.escape(pin.build.module)} {re.escape(pin.build.module_version)}$", recipe, re.MULTILINE)
    assert (pin.build.recipe / "go.sum").is_file()
    assert set(pin.build.packages) == set(pin.executables)
    for package in pin.build.packages.values():
        assert package == "." or re.search(rf"^(tool |\t){re.escape(package)}$", recipe, re.MULTILINE), package


@pytest.mark.parametrize("pin", RELEASED, ids=lambda pin: pin.name)
def test_the_release_archive_holds_every_executable(pin):
    assert set(pin.archive.members) == set(pin.executables)


GITHUB = "https://github.com"
ADDRESSES = [
    (
        "prometheus",
        ("Linux", "x86_64"),
        f"{GITHUB}/prometheus/prometheus/releases/download/v3.14.0/prometheus-3.14.0.linux-amd64.tar.gz",
        f"{GITHUB}/prometheus/prometheus/releases/download/v3.14.0/sha256sums.txt",
        "prometheus-3.14.0.linux-amd64/prometheus",
    ),
    (
        "alertmanager",
        ("Darwin", "arm64"),
        f"{GITHUB}/prometheus/alertmanager/releases/download/v0.31.1/alertmanager-0.31.1.darwin-arm64.tar.gz",
        f"{GITHUB}/prometheus/alertmanager/releases/download/v0.31.1/sha256sums.txt",
        "alertmanager-0.31.1.darwin-arm64/alertmanager",
    ),
    (
        "jaeger",
        ("Linux", "aarch64"),
        f"{GITHUB}/jaegertracing/jaeger/releases/download/v2.19.0/jaeger-2.19.0-linux-arm64.tar.gz",
        f"{GITHUB}/jaegertracing/jaeger/releases/download/v2.19.0/jaeger-2.19.0.sha256sum.txt",
        "jaeger-2.19.0-linux-arm64/jaeger",
    ),
    (
        "loki",
        ("Darwin", "x86_64"),
        f"{GITHUB}/grafana/loki/releases/download/v3.7.6/loki-darwin-amd64.zip",
        f"{GITHUB}/grafana/loki/releases/download/v3.7.6/SHA256SUMS",
        "loki-darwin-amd64",
    ),
    (
        "collector",
        ("Linux", "x86_64"),
        f"{GITHUB}/open-telemetry/opentelemetry-collector-releases/releases/download/v0.159.0/"
        "otelcol-contrib_0.159.0_linux_amd64.tar.gz",
        f"{GITHUB}/open-telemetry/opentelemetry-collector-releases/releases/download/v0.159.0/"
        "opentelemetry-collector-releases_otelcol-contrib_checksums.txt",
        "otelcol-contrib",
    ),
    (
        "grafana",
        ("Linux", "x86_64"),
        "https://dl.grafana.com/oss/release/grafana-13.2.0.linux-amd64.tar.gz",
        "https://dl.grafana.com/oss/release/grafana-13.2.0.linux-amd64.tar.gz.sha256",
        "grafana-13.2.0/bin/grafana",
    ),
    (
        "caddy",
        ("Darwin", "arm64"),
        f"{GITHUB}/caddyserver/caddy/releases/download/v2.11.4/caddy_2.11.4_mac_arm64.tar.gz",
        f"{GITHUB}/caddyserver/caddy/releases/download/v2.11.4/caddy_2.11.4_checksums.txt",
        "caddy",
    ),
]


@pytest.mark.parametrize(("name", "host", "archive", "checksums", "main"), ADDRESSES, ids=[a[0] for a in ADDRESSES])
def test_a_release_lies_where_its_publisher_puts_it(monkeypatch, name, host, archive, checksums, main):
    monkeypatch.setattr(platform, "system", lambda: host[0])
    monkeypatch.setattr(platform, "machine", lambda: host[1])
    release = PINS[name].release()
    assert (release.archive_url, release.checksums_url) == (archive, checksums)
    assert release.members[PINS[name].main] == main


def test_a_mirror_replaces_the_publisher_and_a_base_of_its_own_goes_before_the_mirror(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("SIGNALBOX_RELEASE_BASE", "http://mirror:1/all/")
    monkeypatch.setenv("SIGNALBOX_RELEASE_BASE_LOKI", "http://mirror:2/loki")
    assert PINS["jaeger"].release().checksums_url == "http://mirror:1/all/jaeger/2.19.0/jaeger-2.19.0.sha256sum.txt"
    assert PINS["loki"].release().archive_url == "http://mirror:2/loki/loki-linux-amd64.zip"


@pytest.mark.parametrize("host", [("Windows", "AMD64"), ("Linux", "riscv64"), ("FreeBSD", "amd64")])
def test_no_release_is_invented_for_a_platform_without_one(monkeypatch, host):
    monkeypatch.setattr(platform, "system", lambda: host[0])
    monkeypatch.setattr(platform, "machine", lambda: host[1])
    assert [pin.release() for pin in PINS.values()] == [None] * len(PINS)


@pytest.mark.parametrize(
    ("name", "output", "version"),
    [
        ("prometheus", "prometheus, version 3.14.0 (branch: HEAD, revision: 0ab)\n  build user: root\n", "3.14.0"),
        ("prometheus", "prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2)\n", "2.42.0+ds"),
        ("prometheus", "prometheus, version  (branch: , revision: unknown)\n", None),
        ("alertmanager", "alertmanager, version 0.31.1 (branch: HEAD, revision: 1)\n", "0.31.1"),
        ("jaeger", '{"gitCommit":"5c1","gitVersion":"v2.19.0","buildDate":"2026-06-03"}\n', "2.19.0"),
        ("jaeger", '{"gitCommit":"","gitVersion":"","buildDate":""}\n', None),
        ("loki", "loki, version 3.7.6 (branch: release-3.7.x, revision: 4fa)\n", "3.7.6"),
        ("collector", "otelcol-contrib version 0.159.0\n", "0.159.0"),
        ("grafana", "grafana version 13.2.0\n", "13.2.0"),
        ("caddy", "v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=\n", "2.11.7"),
        ("valkey", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=15\n", "9.1.2"),
        ("postgres", "postgres (PostgreSQL) 18.4 (Debian 18.4-1.pgdg13+1)\n", "18.4"),
    ],
)
def test_a_version_is_read_from_what_a_program_prints(name, output, version):
    assert PINS[name].version_in(output) == version


@pytest.mark.parametrize(
    ("name", "version", "accepted"),
    [
        ("prometheus", "3.4.2", False),
        ("prometheus", "3.5", True),
        ("prometheus", "3.10.0-rc.1", True),
        ("prometheus", "4.0.0", False),
        ("postgres", "17.9", False),
        ("postgres", "18.6", True),
        ("postgres", "19beta1", False),
    ],
)
def test_only_versions_in_the_range_are_accepted(name, version, accepted):
    assert PINS[name].accepts(version) is accepted


def test_a_version_without_a_number_is_refused():
    with pytest.raises(ValueError, match="no version number in 'HEAD'"):
        parse_version("HEAD")
