"""The rules that Sloth would write for the same promise: what ours are compared with.

Owns their expressions: every window reads the raw counters, the period averages the recorded 5-minute ratios. Labels
are Sloth's own, so both sets can be loaded by one Prometheus.
"""

from __future__ import annotations

from typing import Any

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
INTERVAL = "1m"  # Sloth leaves it to Prometheus, whose default this is; a shorter one would cost it more


def sloth_labels(shop: int) -> dict[str, str]:
    """What Sloth puts on every rule of an SLO."""
    return {"sloth_id": f"shop-availability-{shop}", "sloth_service": "shop", "sloth_slo": f"availability-{shop}"}


def sloth_groups(shop: int, errors: str, total: str, budget: str = "0.001") -> list[dict[str, Any]]:
    """The three rule groups of one SLO; `errors` and `total` are selectors."""
    labels = sloth_labels(shop)
    chosen = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
    ratio, page, ticket = "slo:sli_error:ratio_rate", ("14.4", "6"), ("3", "1")

    def record(name: str, expression: str, **extra: str) -> dict[str, Any]:
        return {"record": name, "expr": expression, "labels": {**labels, **extra}}

    def both(short: str, long: str, burn: str) -> str:
        limit = f"({burn} * {budget})"
        return f"max({ratio}{short}{chosen} > {limit}) without (sloth_window)\nand\n" \
               f"max({ratio}{long}{chosen} > {limit}) without (sloth_window)"  # fmt: skip

    windows = [
        record(f"{ratio}{w}", f"(sum(rate({errors}[{w}])))\n/\n(sum(rate({total}[{w}])))", sloth_window=w)
        for w in WINDOWS
    ]
    period = (
        f"sum_over_time({ratio}5m{chosen}[30d])\n/ ignoring (sloth_window)\ncount_over_time({ratio}5m{chosen}[30d])"
    )
    on = "on(sloth_id, sloth_slo, sloth_service) group_left"
    meta = [
        record("slo:objective:ratio", f"vector(1 - {budget})"),
        record("slo:error_budget:ratio", f"vector({budget})"),
        record("slo:time_period:days", "vector(30)"),
        record("slo:current_burn_rate:ratio", f"{ratio}5m{chosen}\n/ {on}\nslo:error_budget:ratio{chosen}"),
        record("slo:period_burn_rate:ratio", f"{ratio}30d{chosen}\n/ {on}\nslo:error_budget:ratio{chosen}"),
        record("slo:period_error_budget_remaining:ratio", f"1 - slo:period_burn_rate:ratio{chosen}"),
        record("sloth_slo_info", "vector(1)"),
    ]
    alerts = [
        {"alert": f"Shop{shop}Page", "expr": f"({both('5m', '1h', page[0])})\nor\n({both('30m', '6h', page[1])})"},
        {"alert": f"Shop{shop}Ticket", "expr": f"({both('2h', '1d', ticket[0])})\nor\n({both('6h', '3d', ticket[1])})"},
    ]
    groups = (
        ("sli-recordings", [*windows, record(f"{ratio}30d", period, sloth_window="30d")]),
        ("meta-recordings", meta),
        ("alerts", alerts),
    )
    return [{"name": f"sloth-slo-{name}-{shop}", "interval": INTERVAL, "rules": rules} for name, rules in groups]
