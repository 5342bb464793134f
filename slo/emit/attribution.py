"""Where a budget burns: the route, version and instance of the bad events, the dependency under suspicion, and what
has just changed.

Owns the questions, as annotations of an alert: `…_query` is PromQL that whoever holds the page can ask again, the
others are answered by Prometheus while the alert fires and are empty where there is no answer. Names beyond the
indicator's own are OpenTelemetry's as Prometheus spells them, `signalbox_build_info` and `signalbox_fault_active`.
"""

from __future__ import annotations

from datetime import timedelta

from slo.durations import format_duration
from slo.emit import promql
from slo.model import Promise, RatioIndicator, Selector, Tier

Annotations = dict[str, str]

# An instance runs one version at a time; after its replacement Prometheus may see two for a scrape, and for minutes
# when it was away meanwhile. The one that was seen last counts.
VERSION_OF = "(topk by (job, instance) (1, timestamp(signalbox_build_info)) > bool 0)"
BY_VERSION = f" * on (job, instance) group_left (service_version, revision) {VERSION_OF}"
# Whom a call went to: the service's name where the caller knows it (`peer.service`), or else the address it used.
PEERS = ("peer_service", "server_address", "db_client_connection_pool_name")
CALLS = "(http_client_request|db_client_operation)_duration_seconds_"
# Placeholder for the time since something: whoever asks again knows how long ago that was.
SINCE = "$since"
LEAST_FAILING = "0.01"  # of the calls to a dependency
LEAST_SECONDS, LEAST_SLOWDOWN = "0.01", "3"
_NOT_TELLING = ("job", "le")


def attribution(promise: Promise, tier: Tier) -> Annotations:
    """Everything that can be asked about the bad events of a promise, over the short window of a tier: of the slowest
    that may fire the alert, in which there are bad events whichever of them did."""
    found = {
        **_places(promise, tier.short.length),
        **_dependency(promise, tier),
        **recent_changes(tier),
        **_lost(promise),
    }
    return {name: literal(text) if name.endswith("_query") else text for name, text in found.items()}


def literal(text: str) -> str:
    """A text that Prometheus' template engine leaves as it is."""
    return text.replace("{{", '{{ "{{" }}')


def recent_changes(tier: Tier) -> Annotations:
    """Versions that appeared within the long window of a tier, and faults that are on."""
    version = "count by (service_name, service_version) (signalbox_build_info"
    before = f"offset {format_duration(tier.long.length)}"
    deployed = f"{version}) unless {version} {before}) and on (service_name) {version} {before})"
    return {
        "changed": _each(deployed, "{{ .Labels.service_name }} {{ .Labels.service_version }} deployed. ")
        + _each("max by (fault, job) (signalbox_fault_active) == 1", "Fault {{ .Labels.fault }} is on. ")
    }


def _places(promise: Promise, window: timedelta) -> Annotations:
    indicator = promise.counters
    # Counted by two processes, events have no label that tells which of them went bad.
    if indicator is None or indicator.total.matcher("job") != indicator.counted.matcher("job"):
        return {}
    chosen = (m.label for m in indicator.total.matchers if m.operator in ("=", "=~"))
    labels = [label for label in dict.fromkeys(chosen) if label not in _NOT_TELLING]
    route = _bad(indicator, window, ", ".join(labels))
    version = _share(indicator, window, "service_version, revision", BY_VERSION)
    instance = _share(indicator, window, "instance")
    found = {
        "worst_version": _worst(version, ["service_version"], "humanizePercentage"),
        "version_query": version,
        "worst_instance": _worst(instance, ["instance"], "humanizePercentage"),
        "instance_query": instance,
    }
    if not labels:
        return found
    return {"worst_route": _worst(f"{route} > 0", labels, 'printf "%.0f bad"'), "route_query": route, **found}


def _bad(indicator: RatioIndicator, window: timedelta, labels: str) -> str:
    """Bad events of a window by labels."""
    counted, total = (_count(one, window, labels) for one in (indicator.counted, indicator.total))
    if indicator.counts == "bad":
        return counted
    return f"{total} - ({counted} or 0 * {total})"


def _share(indicator: RatioIndicator, window: timedelta, labels: str, joined: str = "") -> str:
    """How many of the events of each were bad, 0 to 1."""
    counted, total = (_count(one, window, labels, joined) for one in (indicator.counted, indicator.total))
    ratio = f"({counted} or 0 * {total}) / ({total} > 0)"
    return f"clamp({ratio if indicator.counts == 'bad' else f'1 - {ratio}'}, 0, 1)"


def _count(selector: Selector, window: timedelta, labels: str, joined: str = "") -> str:
    return f"sum by ({labels}) (increase({promql.render_selector(selector)}[{format_duration(window)}]){joined})"


def _dependency(promise: Promise, tier: Tier) -> Annotations:
    """Calls of the processes that count the events, by whom they call: the share that fails, and how long they take."""
    jobs = [m.value for s in _selectors(promise) for m in s.matchers if m.label == "job" and m.operator == "="]
    if not jobs:
        return {}
    job = f"job=~{promql.quote('|'.join(map(promql.regex_literal, dict.fromkeys(jobs))))}"
    now, before = tier.short.length, f" offset {format_duration(tier.short.length)}"
    failing = f"{_calls('count', now, job, outcome='bad')} / {_calls('count', now, job)}"
    seconds = f"{_calls('sum', now, job)} / {_calls('count', now, job)}"
    usual = f"{_calls('sum', tier.long.length, job, before)} / {_calls('count', tier.long.length, job, before)}"
    peer = "{{ or " + " ".join(f".Labels.{label}" for label in PEERS) + " }}"
    slow = f"topk(1, ({seconds} > {LEAST_SECONDS}) / ({usual}) > {LEAST_SLOWDOWN})"
    return {
        "suspect": _each(
            f"topk(1, {failing} > {LEAST_FAILING})",
            f"{peer}: {{{{ .Value | humanizePercentage }}}} of the calls fail",
            _each(slow, f"{peer}: {{{{ .Value | printf `%.1f` }}}} times as slow as before"),
        ),
        "failing_query": failing,
        "seconds_query": seconds,
    }


def _calls(suffix: str, window: timedelta, job: str, before: str = "", *, outcome: str = "") -> str:
    chosen = f'{{__name__=~"{CALLS}{suffix}",{job}{f",outcome={promql.quote(outcome)}" if outcome else ""}}}'
    return f"sum by ({', '.join(PEERS)}) (rate({chosen}[{format_duration(window)}]{before}))"


def _selectors(promise: Promise) -> list[Selector]:
    promises = [part.promise for part in promise.parts] or [promise]
    indicators = [one.counters for one in promises if one.counters]
    return [selector for indicator in indicators for selector in (indicator.total, indicator.counted)]


def _lost(promise: Promise) -> Annotations:
    """Bad events (looks, slices) since a moment: every base window counted once."""
    base = promise.windows.base
    bad = promql.recorded(promql.bad_name(base), promise)
    return {"lost_query": f"sum(sum_over_time({bad}[{SINCE}:{format_duration(base.length)}]))"}


def _worst(query: str, labels: list[str], form: str) -> str:
    """The two that are worst: one alone does not say whether it stands out."""
    named = " ".join(f"{{{{ .Labels.{label} }}}}" for label in labels)
    return _each(f"topk(2, {query})", f"{named} ({{{{ .Value | {form} }}}})", separator=", ")


def _each(query: str, text: str, otherwise: str = "", separator: str = "") -> str:
    """A Prometheus template: a text for every series of an answer, in its order."""
    parting = f"{{{{ if $place }}}}{separator}{{{{ end }}}}" if separator else ""
    quoted = promql.quote(query) if "`" in query else f"`{query}`"
    begin = f"{{{{ range $place, $series := query {quoted} }}}}" if separator else f"{{{{ range query {quoted} }}}}"
    return f"{begin}{parting}{text}{f'{{{{ else }}}}{otherwise}' if otherwise else ''}{{{{ end }}}}"
