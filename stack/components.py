"""Every component of the stack exactly once, as data: what it needs, where it listens, how it starts, when it is ready.

The native supervisor runs these; `docker-compose.yml` is checked against them. Commands and environments are
`str.format` templates that `native.launch` fills in, so reading them runs nothing. Knows nothing of processes, files
or containers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PYTHON = "{python}"
API = "api"  # the job that is replicated
DEFAULT_REPLICAS = 2
MOST_REPLICAS = 40  # ports 8101 to 8140; the worker's is 8150


@dataclass(frozen=True)
class Probe:
    """When a component counts as ready: an HTTP path that answers 2xx, an SQL query that is true, or a Valkey PING."""

    kind: Literal["http", "sql", "valkey"]
    port: str
    target: str = ""
    otherwise: str = ""  # what it means when the query is not true


@dataclass(frozen=True)
class Reload:
    """How a running component takes a changed configuration: an HTTP POST, or a command with the new environment."""

    port: str = ""
    path: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Component:
    """One long-running part. `backend` names its entry among the pinned backends; without one it runs our own image."""

    name: str
    ports: Mapping[str, int]
    command: tuple[str, ...]
    probe: Probe
    job: str = ""  # the Prometheus job, and the name by which others need it; empty: its own name
    needs: tuple[str, ...] = ()  # ready before it starts; of a replicated job, one is enough
    sends_to: tuple[str, ...] = ()  # its telemetry goes there, so these outlive it on the way down
    env: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    config: str | None = None  # the folder of the checkout that holds its configuration
    prepare: Literal["postgres-primary", "postgres-replica"] | None = None
    url: str | None = None
    metrics: str = ""  # the port on which Prometheus finds /metrics
    reload: Reload | None = None
    faults: bool = False  # has faults that can be switched, at /internal/faults
    optional: bool = False  # the stack is ready without it
    forgets: tuple[str, ...] = ()  # files of its data that outlive a restart, but not the stack
    drops_root: bool = False  # refuses to run as root
    overlaps: bool = False  # its successor listens beside it (SO_REUSEPORT) before it goes: for one nobody balances
    stop_signal: Literal["SIGTERM", "SIGINT"] = "SIGTERM"
    death_signal: Literal["SIGKILL", "SIGQUIT"] = "SIGKILL"  # sent by the kernel when the supervisor dies
    stop_grace_s: float = 10.0
    start_timeout_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.job:
            object.__setattr__(self, "job", self.name)


@dataclass(frozen=True)
class Step:
    """A command that runs to its end once per start of the stack, before what needs it; once more does no harm."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    env: Mapping[str, str]


def http(port: str, path: str) -> Probe:
    """Ready when an HTTP GET answers 2xx."""
    return Probe("http", port, path)


DATABASE_URL = "postgresql+asyncpg://signalbox:{secret[database_password]}@127.0.0.1:{ports[%s]}/signalbox"
SERVICE_ENV = {
    "SIGNALBOX_ENVIRONMENT": "development",
    "SIGNALBOX_VERSION": "{version}",
    "SIGNALBOX_REVISION": "{revision}",
    "SIGNALBOX_HOST": "127.0.0.1",
    "SIGNALBOX_OTLP_URL": "http://127.0.0.1:{ports[collector-http]}",
    "SIGNALBOX_DATABASE_URL": DATABASE_URL % "postgres",
    "SIGNALBOX_VALKEY_URL": "redis://:{secret[valkey_password]}@127.0.0.1:{ports[valkey]}/0",
    "SIGNALBOX_PAYMENTS_URL": "http://127.0.0.1:{ports[payments]}",
    "SIGNALBOX_ISSUER_URL": "http://127.0.0.1:{ports[issuer]}",
    "SIGNALBOX_CURSOR_KEYS": "{secret[cursor_key]}",
}
# For who asks payments, and for the issuer that lets them.
CLIENT_SECRET = {"SIGNALBOX_CLIENT_SECRET": "{secret[client_secret]}"}


def api(number: int) -> Component:
    """One replica of the API."""
    name = f"api-{number}"
    return Component(
        name=name,
        job="api",
        ports={name: 8100 + number},
        needs=("postgres", "valkey", "seed"),
        sends_to=("collector",),
        command=(PYTHON, "-m", "service", "api", "--port", f"{{ports[{name}]}}"),
        env={
            **SERVICE_ENV,
            **CLIENT_SECRET,
            "SIGNALBOX_INSTANCE": name,
            "SIGNALBOX_REPLICA_URLS": DATABASE_URL % "postgres-replica",
        },
        probe=http(name, "/readyz"),
        metrics=name,
        faults=True,
        url=f"http://{{host}}:{{ports[{name}]}}",
        stop_grace_s=20.0,
    )


def service(
    name: str,
    base_port: int,
    *,
    needs: tuple[str, ...],
    faults: bool = True,
    overlaps: bool = False,
    env: Mapping[str, str] = {},
) -> Component:
    """One process of the service other than the API."""
    return Component(
        name=name,
        ports={name: base_port},
        needs=needs,
        sends_to=("collector",),
        command=(PYTHON, "-m", "service", name, "--port", f"{{ports[{name}]}}"),
        env={**SERVICE_ENV, "SIGNALBOX_INSTANCE": name, **env},
        probe=http(name, "/readyz"),
        metrics=name,
        faults=faults,
        overlaps=overlaps,
        url=f"http://{{host}}:{{ports[{name}]}}",
        stop_grace_s=20.0,
    )


STEPS = tuple(
    Step(name=name, command=(PYTHON, "-m", "service", name), needs=needs, env={**SERVICE_ENV, "SIGNALBOX_OTLP_URL": ""})
    for name, needs in (("migrate", ("postgres",)), ("seed", ("migrate",)))
)

# The service's own command, in the environment of the stack; never run by the supervisor.
JOBS = Step(name="jobs", command=(PYTHON, "-m", "service", "jobs"), needs=(), env=SERVICE_ENV)

# Go collects garbage when the heap has grown by this share (default 100): memory matters more here than throughput.
SMALL_HEAP = {"GOGC": "50"}

GATEWAY = Component(
    name="gateway",
    ports={"gateway": 8080, "gateway-metrics": 8081},
    needs=("api",),
    sends_to=("collector",),
    backend="caddy",
    config="deploy/gateway",
    command=("{bin[caddy]}", "run", "--config", "{run}/Caddyfile", "--adapter", "caddyfile"),
    env={
        "SIGNALBOX_GATEWAY_HOST": "{gateway_host}",
        "SIGNALBOX_PORT_GATEWAY": "{ports[gateway]}",
        "SIGNALBOX_METRICS_HOST": "127.0.0.1",
        "SIGNALBOX_PORT_GATEWAY_METRICS": "{ports[gateway-metrics]}",
        "SIGNALBOX_ADMIN": "unix/{socket}",
        "SIGNALBOX_API_UPSTREAMS": "{upstreams}",
        "SIGNALBOX_STATIC": "{run}/static",
        "OTEL_SERVICE_NAME": "gateway",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{ports[collector-http]}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "XDG_DATA_HOME": "{data}",
        "XDG_CONFIG_HOME": "{data}",
        **SMALL_HEAP,
    },
    probe=http("gateway-metrics", "/livez"),
    metrics="gateway-metrics",
    url="http://{host}:{ports[gateway]}",
    reload=Reload(
        command=(
            *("{bin[caddy]}", "reload", "--config", "{run}/Caddyfile", "--adapter", "caddyfile"),
            *("--address", "unix/{socket}"),
        )
    ),
    stop_grace_s=12.0,  # above the Caddyfile's grace period
)

POSTGRES = Component(
    name="postgres",
    ports={"postgres": 15432},
    backend="postgres",
    prepare="postgres-primary",
    drops_root=True,
    command=("{bin[postgres]}", "-D", "{data}"),
    probe=Probe("sql", "postgres", "select not pg_is_in_recovery()", otherwise="still recovers"),
    stop_signal="SIGINT",  # fast shutdown: SIGTERM would wait for every client to leave
    death_signal="SIGQUIT",  # immediate shutdown: certain to end, and the next start replays what was committed
    stop_grace_s=30.0,
)

POSTGRES_REPLICA = Component(
    name="postgres-replica",
    ports={"postgres-replica": 15433},
    needs=("postgres",),
    backend="postgres",
    prepare="postgres-replica",
    drops_root=True,
    command=("{bin[postgres]}", "-D", "{data}"),
    probe=Probe(
        "sql",
        "postgres-replica",
        "select exists(select from pg_stat_wal_receiver where status = 'streaming')",
        otherwise="does not stream from its primary",
    ),
    start_timeout_s=60.0,  # then it is looked at whether it can ever follow
    stop_signal="SIGINT",
    death_signal="SIGQUIT",
    stop_grace_s=30.0,
)

VALKEY = Component(
    name="valkey",
    ports={"valkey": 16379},
    backend="valkey",
    command=(
        *("{bin[valkey-server]}", "{run}/valkey.conf", "--bind", "127.0.0.1", "--port", "{ports[valkey]}"),
        *(
            "--dir",
            "{data}",
            "--maxmemory",
            "64mb",
            "--maxmemory-policy",
            "allkeys-lru",
            "--save",
            "",
            "--daemonize",
            "no",
        ),
    ),
    probe=Probe("valkey", "valkey"),
)

COLLECTOR = Component(
    name="collector",
    ports={"collector-grpc": 4317, "collector-http": 4318, "collector-health": 13133, "collector-metrics": 8888},
    sends_to=("loki", "jaeger", "prometheus"),
    backend="collector",
    config="observability/collector",
    command=("{bin[otelcol-contrib]}", "--config", "{run}/collector.yaml"),
    env={
        "SIGNALBOX_BIND": "127.0.0.1",
        "SIGNALBOX_PORT_OTLP_GRPC": "{ports[collector-grpc]}",
        "SIGNALBOX_PORT_OTLP_HTTP": "{ports[collector-http]}",
        "SIGNALBOX_PORT_COLLECTOR_HEALTH": "{ports[collector-health]}",
        "SIGNALBOX_PORT_COLLECTOR_METRICS": "{ports[collector-metrics]}",
        "SIGNALBOX_JAEGER_OTLP": "127.0.0.1:{ports[jaeger-otlp]}",
        "SIGNALBOX_PROMETHEUS_URL": "http://127.0.0.1:{ports[prometheus]}",
        "SIGNALBOX_LOKI_URL": "http://127.0.0.1:{ports[loki]}",
        "SIGNALBOX_LOGS": "{logs}",
        "SIGNALBOX_COLLECTOR_DATA": "{data}",
        **SMALL_HEAP,
    },
    probe=http("collector-health", "/"),
    metrics="collector-metrics",
)

PROMETHEUS = Component(
    name="prometheus",
    ports={"prometheus": 9090},
    sends_to=("alertmanager",),
    backend="prometheus",
    config="observability/prometheus",
    command=(
        "{bin[prometheus]}",
        "--config.file={run}/prometheus.yml",
        "--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=35d",  # above the 30-day window of every SLO
        "--storage.tsdb.retention.size=2GB",
        "--web.listen-address=127.0.0.1:{ports[prometheus]}",
        "--web.enable-lifecycle",
        "--web.enable-otlp-receiver",
        "--web.enable-remote-write-receiver",  # replays come this way
        "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
    ),
    env=SMALL_HEAP,
    probe=http("prometheus", "/-/ready"),
    metrics="prometheus",
    url="http://{host}:{ports[prometheus]}",
    reload=Reload(port="prometheus", path="/-/reload"),
)

ALERTMANAGER = Component(
    name="alertmanager",
    ports={"alertmanager": 9093},
    sends_to=("pager",),
    backend="alertmanager",
    config="observability/alertmanager",
    command=(
        "{bin[alertmanager]}",
        "--config.file={run}/_generated/alertmanager.yml",
        "--storage.path={data}",
        "--web.listen-address=127.0.0.1:{ports[alertmanager]}",
        "--cluster.listen-address=",
    ),
    # Whom it told of which alert. Left from the stack before, it would keep an alert that fires again from being told.
    forgets=("nflog",),
    probe=http("alertmanager", "/-/ready"),
    metrics="alertmanager",
    url="http://{host}:{ports[alertmanager]}",
    reload=Reload(port="alertmanager", path="/-/reload"),
)

LOKI = Component(
    name="loki",
    ports={"loki": 3100, "loki-grpc": 3101},
    backend="loki",
    config="observability/loki",
    command=(
        *("{bin[loki]}", "-config.file={run}/loki.yaml", "-config.expand-env=true"),
        "-frontend.scheduler-dns-lookup-period=1s",  # it is ready only after this; the default is ten times that
    ),
    env={
        "SIGNALBOX_BIND": "127.0.0.1",
        "SIGNALBOX_PORT_LOKI": "{ports[loki]}",
        "SIGNALBOX_PORT_LOKI_GRPC": "{ports[loki-grpc]}",
        "SIGNALBOX_LOKI_DATA": "{data}",
        **SMALL_HEAP,
    },
    probe=http("loki", "/ready"),
    metrics="loki",
    url="http://{host}:{ports[loki]}",
    stop_grace_s=20.0,
)

JAEGER = Component(
    name="jaeger",
    ports={
        "jaeger": 16686,
        "jaeger-grpc": 16685,
        "jaeger-otlp": 14317,
        "jaeger-otlp-http": 14318,
        "jaeger-metrics": 14269,
        "jaeger-health": 14133,
    },
    backend="jaeger",
    config="observability/jaeger",
    command=("{bin[jaeger]}", "--config", "{run}/jaeger.yaml"),
    env={
        "SIGNALBOX_BIND": "127.0.0.1",
        "SIGNALBOX_PORT_JAEGER": "{ports[jaeger]}",
        "SIGNALBOX_PORT_JAEGER_GRPC": "{ports[jaeger-grpc]}",
        "SIGNALBOX_PORT_JAEGER_OTLP": "{ports[jaeger-otlp]}",
        "SIGNALBOX_PORT_JAEGER_OTLP_HTTP": "{ports[jaeger-otlp-http]}",
        "SIGNALBOX_PORT_JAEGER_METRICS": "{ports[jaeger-metrics]}",
        "SIGNALBOX_PORT_JAEGER_HEALTH": "{ports[jaeger-health]}",
        "SIGNALBOX_JAEGER_DATA": "{data}",
        **SMALL_HEAP,
        "SIGNALBOX_PROMETHEUS_URL": "http://127.0.0.1:{ports[prometheus]}",
    },
    probe=http("jaeger-health", "/status"),
    metrics="jaeger-metrics",
    url="http://{host}:{ports[jaeger]}",
)

GRAFANA = Component(
    name="grafana",
    ports={"grafana": 3000},
    backend="grafana",
    config="observability/grafana",
    command=("{bin[grafana]}", "server", "--homepath", "{home[grafana]}"),
    env={
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": "{ports[grafana]}",
        "GF_SERVER_ROOT_URL": "http://{host}:{ports[grafana]}",
        "GF_PATHS_DATA": "{data}",
        "GF_PATHS_PROVISIONING": "{run}/provisioning",
        "GF_SECURITY_ADMIN_PASSWORD": "{secret[grafana_password]}",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",  # reads only, on loopback
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "SIGNALBOX_DASHBOARDS": "{run}/dashboards",
        "SIGNALBOX_DASHBOARDS_GENERATED": "{run}/_generated/dashboards",
        "SIGNALBOX_PROMETHEUS_URL": "http://127.0.0.1:{ports[prometheus]}",
        "SIGNALBOX_LOKI_URL": "http://127.0.0.1:{ports[loki]}",
        "SIGNALBOX_JAEGER_URL": "http://127.0.0.1:{ports[jaeger]}",
        "SIGNALBOX_JAEGER_PUBLIC_URL": "http://{host}:{ports[jaeger]}",
    },
    probe=http("grafana", "/api/health"),
    url="http://{host}:{ports[grafana]}",
    optional=True,
)

PAGER = Component(
    name="pager",
    ports={"pager": 8170},
    command=(PYTHON, "-m", "stack.pager", "--port", "{ports[pager]}"),
    env={
        "SIGNALBOX_PAGER_DATA": "{data}",
        "SIGNALBOX_PROMETHEUS_URL": "http://127.0.0.1:{ports[prometheus]}",
        "SIGNALBOX_ALERTMANAGER_URL": "http://127.0.0.1:{ports[alertmanager]}",
        "SIGNALBOX_ALERTMANAGER_PUBLIC_URL": "http://{host}:{ports[alertmanager]}",
        "SIGNALBOX_LOKI_URL": "http://127.0.0.1:{ports[loki]}",
        "SIGNALBOX_JAEGER_URL": "http://127.0.0.1:{ports[jaeger]}",
        "SIGNALBOX_JAEGER_PUBLIC_URL": "http://{host}:{ports[jaeger]}",
        "SIGNALBOX_GRAFANA_URL": "http://127.0.0.1:{ports[grafana]}",
        "SIGNALBOX_GRAFANA_PUBLIC_URL": "http://{host}:{ports[grafana]}",
        "SIGNALBOX_PUBLIC_URL": "http://{host}:{ports[pager]}",
        "SIGNALBOX_DEADMAN_TIMEOUT_S": "{deadman_timeout_s}",
    },
    probe=http("pager", "/readyz"),
    metrics="pager",
    url="http://{host}:{ports[pager]}",
)

PROBER = Component(
    name="prober",
    ports={"prober": 8180},
    needs=("gateway", "issuer"),
    command=(PYTHON, "-m", "incidents.prober", "--port", "{ports[prober]}"),
    env={
        "SIGNALBOX_GATEWAY_URL": "http://127.0.0.1:{ports[gateway]}",
        "SIGNALBOX_ISSUER_URL": "http://127.0.0.1:{ports[issuer]}",
        "SIGNALBOX_TLS_ENDPOINT": "127.0.0.1:{ports[faults-tls]}",
    },
    probe=http("prober", "/readyz"),
    metrics="prober",
    url="http://{host}:{ports[prober]}",
)


# Stands in nobody's way: calls go through it only while a fault of `faults` sends them there.
TOXIPROXY = Component(
    name="toxiproxy",
    ports={"toxiproxy": 8474, "toxiproxy-payments": 8475},
    backend="toxiproxy",
    command=("{bin[toxiproxy-server]}", "-host", "127.0.0.1", "-port", "{ports[toxiproxy]}"),
    env={"LOG_LEVEL": "warn", **SMALL_HEAP},
    probe=http("toxiproxy", "/version"),
    optional=True,
    stop_grace_s=2.0,
)

FAULTS = Component(
    name="faults",
    ports={"faults": 8290, "faults-tls": 8291},
    command=(PYTHON, "-m", "stack.sabotage", "--port", "{ports[faults]}", "--tls-port", "{ports[faults-tls]}"),
    env={
        "SIGNALBOX_ENVIRONMENT": SERVICE_ENV["SIGNALBOX_ENVIRONMENT"],
        "SIGNALBOX_FAULTS_DATA": "{data}",
        "SIGNALBOX_FORM": "{form}",
        "SIGNALBOX_STATE": "{state}",
        "SIGNALBOX_PORT_OFFSET": "{port_offset}",
        "SIGNALBOX_SECRETS": "{secrets}",
        "SIGNALBOX_POSTGRES": "127.0.0.1:{ports[postgres]}",
        "SIGNALBOX_REPLICA": "127.0.0.1:{ports[postgres-replica]}",
        "SIGNALBOX_VALKEY": "127.0.0.1:{ports[valkey]}",
        "SIGNALBOX_TOXIPROXY": "127.0.0.1:{ports[toxiproxy]}",
        "SIGNALBOX_DETOUR": "127.0.0.1:{ports[toxiproxy-payments]}",
        "SIGNALBOX_PAYMENTS": "127.0.0.1:{ports[payments]}",
        "SIGNALBOX_API_UPSTREAMS": "{upstreams}",
    },
    probe=http("faults", "/readyz"),
    metrics="faults",
    faults=True,
    url="http://{host}:{ports[faults]}",
)


def components(replicas: int = DEFAULT_REPLICAS) -> tuple[Component, ...]:
    """Every component of a stack with that many API replicas, in the order in which a person reads them."""
    return (
        GATEWAY,
        *(api(number) for number in range(1, replicas + 1)),
        service("worker", 8150, needs=("postgres", "valkey", "seed"), env=CLIENT_SECRET),
        service("payments", 8160, needs=("issuer",), overlaps=True),
        service("issuer", 8190, needs=(), faults=False, env=CLIENT_SECRET),
        POSTGRES,
        POSTGRES_REPLICA,
        VALKEY,
        COLLECTOR,
        PROMETHEUS,
        ALERTMANAGER,
        LOKI,
        JAEGER,
        GRAFANA,
        PAGER,
        PROBER,
        TOXIPROXY,
        FAULTS,
    )


def base_ports(parts: Iterable[Component]) -> dict[str, int]:
    """Every port by its name, before the offset."""
    return {name: port for part in parts for name, port in part.ports.items()}
