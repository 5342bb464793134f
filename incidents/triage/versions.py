"""Deviations by version: a version that did not run before and does worse than those that did.

Pure but for its queries' text. Owns that comparison. A deploy that does no harm is no deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

from incidents.plot import emit_value
from incidents.triage.deviation import Deviation, strength
from incidents.triage.figures import Samples
from incidents.triage.rules import Limit, Rules

# An instance runs one version at a time. Prometheus sees two for some minutes when it was away while one replaced the
# other; the one that was seen last counts.
_VERSION = "(topk by (job, instance) (1, timestamp(signalbox_build_info)) > bool 0)"
_BY_VERSION = f"* on (job, instance) group_left (service_version, revision) {_VERSION}"
_COUNT = f"sum by (job, service_version, revision) (rate(http_server_request_duration_seconds_count[$h]) {_BY_VERSION})"
_BAD = _COUNT.replace("_count[", '_count{outcome="bad"}[')
_SUM = _COUNT.replace("_count[", "_sum[")
QUERIES = {
    "running": "count by (job, service_version, revision) (present_over_time(signalbox_build_info[$w]))",
    "failures": f"({_BAD}) / (({_COUNT}) > 0.1)",
    "seconds": f"({_SUM}) / (({_COUNT}) > 0.1)",
}

Build = tuple[str, str, str]
"""Job, version, revision."""


@dataclass(frozen=True)
class Builds:
    """What the queries answered, now and before; `queries` are as they were asked now."""

    now: dict[str, Samples]
    before: dict[str, Samples]
    queries: dict[str, str]


def version_deviations(builds: Builds, rules: Rules) -> list[Deviation]:
    """New versions that fail more, or take longer, than those beside them and before them."""
    running, earlier = _by_build(builds.now["running"]), _by_build(builds.before["running"])
    new = [build for build in running if build not in earlier and any(job == build[0] for job, _, _ in earlier)]
    found = []
    for name, limit, unit, does in (
        ("failures", rules.versions.failures, "ratio", "fails {} of its requests"),
        ("seconds", rules.versions.seconds, "s", "takes {} for a request"),
    ):
        now, before = _by_build(builds.now[name]), _by_build(builds.before[name])
        for build in new:
            deviation = _compare(build, now, before, limit)
            if deviation is not None and build[0] not in rules.topology.outside:
                power, value, others = deviation
                does_what = does.format(emit_value(value, unit))
                says = (
                    f"version {_name(build)}, which did not run before, {does_what}; others {emit_value(others, unit)}"
                )
                component = rules.topology.component(build[0])
                found.append(Deviation(component, "bad-deploy", power, "versions", says, query=builds.queries[name]))
    return found


def changes(builds: Builds) -> list[str]:
    """Versions that came or went between the windows, in words."""
    running, earlier = _by_build(builds.now["running"]), _by_build(builds.before["running"])
    jobs = {job for job, _, _ in earlier}
    came = [f"{build[0]} {_name(build)} was deployed" for build in running if build not in earlier and build[0] in jobs]
    return came + [f"{build[0]} {_name(build)} runs no more" for build in earlier if build not in running]


def _compare(
    build: Build, now: dict[Build, float], before: dict[Build, float], limit: Limit
) -> tuple[float, float, float] | None:
    if build not in now:
        return None
    beside = [value for other, value in now.items() if other[0] == build[0] and other != build]
    others = max(beside or [value for other, value in before.items() if other[0] == build[0]], default=0.0)
    far = limit.excess(now[build], others)
    return (strength(limit.weight, far), now[build], others) if far >= 1 else None


def _name(build: Build) -> str:
    return f"{build[1]} ({build[2][:9]})" if build[2] else build[1]


def _by_build(samples: Samples) -> dict[Build, float]:
    return {
        (labels.get("job", ""), labels.get("service_version", ""), labels.get("revision", "")): value
        for labels, value in samples
    }
