"""What a Prometheus says that two rule sets cost it, and what their ratios are to be.

Owns the targets. Samples are `totalQueryableSamples` of each expression, seconds the evaluation times of rule groups.
"""

from __future__ import annotations

import platform
from statistics import median
from typing import Any

from bench.backfill import SCRAPE_S, selectors
from bench.prometheus_server import Server
from slo.durations import parse_duration

MOST_OF_SLOTH = 0.1  # the rules touch at most a tenth of the samples
LEAST_TIMES_FEWER = 20  # the 30-day term against a raw range


def judge(server: Server, sets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Samples of every rule, by set: once, an hour at each group's interval, and by rule."""
    found: dict[str, Any] = {}
    for name, rules in sets.items():
        once, hourly, by_rule = 0, 0.0, {}
        for group in rules["groups"]:
            for rule in group["rules"]:
                samples, _ = server.cost(rule["expr"])
                once += samples
                hourly += samples * 3600 / parse_duration(group["interval"]).total_seconds()
                key = rule.get("record") or rule["alert"]
                by_rule[key] = by_rule.get(key, 0) + samples
        found[name] = {"samples": once, "samples_per_hour": round(hourly), "rules": by_rule}
    return found


def group_seconds(server: Server, sets: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How long Prometheus says that its groups took last, a set, weighted to one hour."""
    names = {group["name"]: name for name, rules in sets.items() for group in rules["groups"]}
    spent = dict.fromkeys(sets, 0.0)
    for group in server.ask("rules")["groups"]:
        if group["name"] in names:
            spent[names[group["name"]]] += group["evaluationTime"] * 3600 / group["interval"]
    return spent


def document_of(
    server: Server,
    sets: dict[str, dict[str, Any]],
    shops: int,
    samples: int,
    seconds: dict[str, list[float]],
    version: str,
) -> dict[str, Any]:
    """Everything that was measured, and which targets it meets."""
    found = judge(server, sets)
    raw = [server.cost(f"sum(increase({selector}[30d]))") for shop in range(shops) for selector in selectors(shop)]
    ours, sloth = found["ours"], found["sloth"]
    period = [ours["rules"][f"slo:{kind}_events:increase30d"] for kind in ("total", "bad")]
    chosen = '{slo="availability-0"}'
    raw_ratio = server.value(f"sum(increase({selectors(0)[0]}[30d])) / sum(increase({selectors(0)[1]}[30d]))")
    for name in found:
        found[name]["group_seconds_per_hour"] = round(median(seconds[name][len(seconds[name]) // 2 :]), 4)
    document = {
        "prometheus": version,
        "machine": platform.machine(),
        "slos": shops,
        "raw_series_per_slo": 40,
        "scrape_s": SCRAPE_S,
        "samples_written": samples,
        "sets": found,
        "ratio_per_evaluation": ours["samples"] / sloth["samples"],
        "ratio_per_hour": ours["samples_per_hour"] / sloth["samples_per_hour"],
        "ratio_group_seconds": found["ours"]["group_seconds_per_hour"] / found["sloth"]["group_seconds_per_hour"],
        "period": {
            "samples": sum(period),
            "raw_samples": sum(cost for cost, _ in raw),
            "raw_seconds": round(sum(spent for _, spent in raw), 3),
            "times_fewer": sum(cost for cost, _ in raw) / sum(period),
        },
        "error_ratio_30d": {
            "raw": raw_ratio,
            "ours": server.value(f"slo:sli_error:ratio_rate30d{chosen}"),
            "sloth": server.value('slo:sli_error:ratio_rate30d{sloth_slo="availability-0"}'),
        },
    }
    document["targets"] = {
        "per_evaluation": document["ratio_per_evaluation"] <= MOST_OF_SLOTH,
        "per_hour": document["ratio_per_hour"] <= MOST_OF_SLOTH,
        "period": document["period"]["times_fewer"] >= LEAST_TIMES_FEWER,
        "same_result": all(abs(ratio / raw_ratio - 1) < 0.01 for ratio in document["error_ratio_30d"].values()),
    }
    return document
