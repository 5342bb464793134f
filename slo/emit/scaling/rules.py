"""prometheus/scaling-rules.yaml: how full replicas are, what holds, and the pressure that every target follows.

One group a policy, in order, so that one evaluation sees one moment:

1. `known`: the replicas that discovery knows; `fresh`: those of them that answered a scrape just now.
2. For each driver the signal, an instance or the queue at a time, of fresh replicas only, and the utilisation. A signal
   that is not there, not fresh or not a number gives no utilisation: nothing is ever read as zero. (Where a replica
   has served no request yet there is no counter; its zero comes from the gauge beside it, which proves that it tells.)
3. The pressure of each driver: `slo/scaling.py` has the formula.
4. What holds, a series a reason, 1 while it does:
     paging      a page fires, or nobody can say because alerts are not being evaluated
     missing     a driver has no utilisation
     unanswered  a replica does not answer scrapes, or answered too long ago
     partial     a replica answers, and a signal of it is missing
5. The pressure: the drivers' largest; at least 1 while anything holds. Without any driver there is none, which every
   target takes for "stay as you are".
6. The floor: the replicas there are while the pressure is above 1, else none. Kubernetes multiplies the pressure by the
   pods that are *ready*; when many are not, as when the database is away, that would be fewer than there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slo.durations import format_duration
from slo.emit.alerts import WATCHDOG
from slo.emit.promql import number, quote, regex_literal
from slo.emit.yaml_text import emit_yaml
from slo.scaling import LEAST_GROWTH, QUEUE_SIGNALS, Driver, ScalingPolicy

Rule = dict[str, Any]

KNOWN = "scaling:replicas:known"
FRESH = "scaling:replicas:fresh"
SIGNAL = "scaling:signal:value"
UTILISATION = "scaling:utilisation:ratio"
DRIVER_PRESSURE = "scaling:driver_pressure:ratio"
HOLD = "scaling:hold:active"
PRESSURE = "scaling:pressure:ratio"
FLOOR = "scaling:floor:replicas"


def emit_scaling_rules(policies: Iterable[ScalingPolicy]) -> str:
    """One group a policy, evaluated four times a freshness, as there are four scrapes in it."""
    groups = [
        {
            "name": f"scaling-{policy.name}",
            "interval": format_duration(policy.fresh_within / 4),
            "rules": list(_rules(policy)),
        }
        for policy in policies
    ]
    return emit_yaml({"groups": groups})


def recorded(name: str, policy: ScalingPolicy, **labels: str) -> str:
    """One recorded series of a policy."""
    matchers = {"policy": policy.name, **labels}
    return f"{name}{{{','.join(f'{key}={quote(value)}' for key, value in matchers.items())}}}"


def fresh(name: str, policy: ScalingPolicy) -> str:
    """What a target asks for: the pressure or the floor, or nothing once its evaluation is older than a minute.
    (Prometheus itself would go on answering with the last value for five.)"""
    series = recorded(name, policy)
    return f"{series} and on (policy) (time() - timestamp({series}) < {_freshness(policy)})"


def _freshness(policy: ScalingPolicy) -> str:
    return number(policy.fresh_within.total_seconds())


def _rules(policy: ScalingPolicy) -> Iterable[Rule]:
    up = f"up{{job={quote(policy.workload.job)}}}"
    answers = f"{up} == 1 and time() - timestamp({up}) < {_freshness(policy)}"
    yield _record(policy, KNOWN, f"count({up})")
    yield _record(policy, FRESH, f"count({answers}) or 0 * sum({recorded(KNOWN, policy)})")
    for driver in policy.drivers:
        yield _record(policy, SIGNAL, _signal(policy, driver, f"({answers})"), driver=driver.signal)
        yield _record(policy, UTILISATION, _utilisation(policy, driver), driver=driver.signal)
        yield _record(policy, DRIVER_PRESSURE, _driver_pressure(policy, driver), driver=driver.signal)
    for reason, expression in _holds(policy):
        yield _record(policy, HOLD, expression, reason=reason)
    pressure = f"max({recorded(DRIVER_PRESSURE, policy)})"
    released = f"(max({recorded(HOLD, policy)}) == 0)"
    yield _record(policy, PRESSURE, f"{pressure} and on () {released}\nor\nclamp_min({pressure}, 1)")
    asked = f"sum({recorded(PRESSURE, policy)})"
    yield _record(policy, FLOOR, f"sum({recorded(KNOWN, policy)}) and on () ({asked} > 1)\nor\n0 * {asked}")


def _record(policy: ScalingPolicy, name: str, expression: str, **labels: str) -> Rule:
    return {"record": name, "expr": expression, "labels": {"policy": policy.name, **labels}}


def _signal(policy: ScalingPolicy, driver: Driver, answers: str) -> str:
    """Its value for every fresh replica, or once for the queue. `>= 0` also drops what is not a number."""
    job = f"job={quote(policy.workload.job)}"
    window = format_duration(policy.rate_window)
    if driver.signal in QUEUE_SIGNALS:
        queue = f"{{{job},messaging_destination_name={quote(driver.queue)}}}"
        metric = "messaging_queue_depth" if driver.signal == "queueDepth" else "messaging_queue_oldest_age_seconds"
        read = f"time() - messaging_queue_read_timestamp_seconds{queue} < {_freshness(policy)}"
        return f"max(\n  {metric}{queue}\n  and on (instance) {answers}\n  and on (instance) ({read})\n) >= 0"
    expressions = {
        "cpu": f"sum by (instance) (rate(process_cpu_seconds_total{{{job}}}[{window}]))",
        "memory": f"sum by (instance) (process_resident_memory_bytes{{{job}}})",
        "inFlight": f"sum by (instance) (avg_over_time(http_server_active_requests{{{job}}}[{window}]))",
        "requests": (
            f"(\n  sum by (instance) (rate(http_server_request_duration_seconds_count{{{job}}}[{window}]))\n"
            f"  or\n  0 * sum by (instance) (http_server_active_requests{{{job}}})\n)"
        ),
    }
    return f"{expressions[driver.signal]} >= 0\nand on (instance) {answers}"


def _utilisation(policy: ScalingPolicy, driver: Driver) -> str:
    signal, capacity = recorded(SIGNAL, policy, driver=driver.signal), number(driver.capacity)
    if driver.signal == "queueDepth":  # jobs wait for all replicas together
        return f"sum({signal}) / (sum({recorded(KNOWN, policy)}) * {capacity})"
    return f"avg({signal}) / {capacity}"


def _driver_pressure(policy: ScalingPolicy, driver: Driver) -> str:
    utilisation = recorded(UTILISATION, policy, driver=driver.signal)
    out, low, middle = (number(each) for each in (driver.scale_out_above, driver.scale_in_below, driver.middle))
    grown = f"clamp_min(({utilisation} > {out}) / {out}, {number(LEAST_GROWTH)})"
    if driver.most_growth is not None:
        grown = f"clamp_max({grown}, {number(driver.most_growth)})"
    return f"{grown}\nor\n({utilisation} < {low}) / {middle}\nor\n0 * {utilisation} + 1"


def _holds(policy: ScalingPolicy) -> Iterable[tuple[str, str]]:
    promises = "|".join(regex_literal(name) for name in policy.hold_on)
    matchers = ['alertstate="firing"', 'tier="page"', *([f"slo=~{quote(promises)}"] if promises else [])]
    alive = f'ALERTS{{alertname={quote(WATCHDOG)},alertstate="firing"}}'
    known, fresh = (f"sum({recorded(name, policy)})" for name in (KNOWN, FRESH))
    yield "paging", f"(count(ALERTS{{{','.join(matchers)}}}) or absent({alive}) or vector(0)) > bool 0"
    yield "missing", f"(count({recorded(UTILISATION, policy)}) or vector(0)) < bool {len(policy.drivers)}"
    yield "unanswered", f"({fresh} < bool {known}) or vector(1)"
    each = [driver.signal for driver in policy.drivers if driver.signal not in QUEUE_SIGNALS]
    if each:
        signals = f"{SIGNAL}{{policy={quote(policy.name)},driver=~{quote('|'.join(each))}}}"
        yield "partial", f"(min(count by (driver) ({signals})) < bool {fresh}) or vector(1)"
