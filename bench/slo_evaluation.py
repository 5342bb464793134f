"""What evaluating SLO rules costs a real Prometheus: ours against Sloth's on the same 30 days, by its own statistics.

`python -m bench.slo_evaluation` (or `make bench-slo`) writes the data, starts a Prometheus with both rule sets, lets it
scrape and evaluate, asks it for the samples that every expression touches and how long its groups take, prints the
ratios and writes them to bench/results/slo_evaluation.json. Exit code 1 when a target is missed or a result is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.backfill import ERROR_RATIO, SCRAPE_S, LiveCounters, Recorded, selectors, total_rate, write_history
from bench.evaluation_cost import document_of, group_seconds
from bench.prometheus_server import Server
from bench.sloth_rules import sloth_groups, sloth_labels
from slo.emit.prometheus import emit_rules
from slo.parse.tree import parse_tree
from stack.backends import probe

RESULTS = Path(__file__).resolve().parent / "results" / "slo_evaluation.json"
LIVE_S = 330  # so that the 5-minute window lies in live data
DEFINITION = """\
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: availability-{shop}
  labels: {{team: shop}}
spec:
  service: shop
  indicator:
    metadata: {{name: answered-{shop}}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{type: Prometheus, spec: {{query: '{errors}'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: '{total}'}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: 0.999}}]
"""


def rule_sets(shops: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Both sets as rule files, by name."""
    definitions = folder / "definitions"
    definitions.mkdir(exist_ok=True)
    text = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: shop}\n"
    for shop in range(shops):
        errors, total = selectors(shop)
        text += DEFINITION.format(shop=shop, errors=errors, total=total)
    (definitions / "shop.yaml").write_text(text)
    ours = yaml.safe_load(emit_rules(parse_tree(definitions)))
    ours["groups"] = [group for group in ours["groups"] if group["name"] != "watchdog"]
    theirs = {"groups": [group for shop in range(shops) for group in sloth_groups(shop, *selectors(shop))]}
    for name, rules in (("ours", ours), ("sloth", theirs)):
        (folder / f"{name}.rules.yaml").write_text(yaml.safe_dump(rules, width=1000))
    return {"ours": ours, "sloth": theirs}


def recorded_series(shops: int) -> list[Recorded]:
    """What both sets have recorded over 30 days and read again."""
    found = []
    for shop in range(shops):
        events = total_rate(shop) * 300
        own = f'service="shop",slo="availability-{shop}"'
        sloth = ",".join(f'{key}="{value}"' for key, value in {**sloth_labels(shop), "sloth_window": "5m"}.items())
        found += [
            Recorded("slo:total_events:increase5m", own, events, SCRAPE_S),
            Recorded("slo:bad_events:increase5m", own, events * ERROR_RATIO, SCRAPE_S),
            Recorded("slo:sli_error:ratio_rate5m", sloth, ERROR_RATIO, 60),
        ]
    return found


def prepare_history(promtool: Path, shops: int, keep: Path) -> tuple[int, int]:
    """Thirty days up to this minute as blocks; what lies in the folder already is used and continued.

    Writing takes minutes, so a second, short piece bridges the time that it took. Returns the beginning, and how many
    samples there are.
    """
    known = keep / "history.json"
    if known.is_file():
        begin_s, end_s, samples = json.loads(known.read_text())
    else:
        end_s = int(time.time()) // SCRAPE_S * SCRAPE_S
        begin_s = end_s - 30 * 86400 - 7200
        samples = _write_blocks(promtool, shops, keep, begin_s, begin_s, end_s)
    now_s = int(time.time()) // SCRAPE_S * SCRAPE_S
    if now_s > end_s:
        samples += _write_blocks(promtool, shops, keep, begin_s, end_s, now_s)
    known.write_text(json.dumps([begin_s, now_s, samples]))
    return begin_s, samples


def _write_blocks(promtool: Path, shops: int, keep: Path, zero_s: int, begin_s: int, end_s: int) -> int:
    text = keep / "history.om"
    _say(f"writing {(end_s - begin_s) / 86400:.3g} days of {40 * shops} counters")
    samples = write_history(text, shops, recorded_series(shops), zero_s, begin_s, end_s)
    _say(f"{samples:,} samples; promtool makes blocks of them")
    subprocess.run(
        [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=162h",
         str(text), str(keep / "data")],
        check=True,
    )  # fmt: skip
    text.unlink()
    return samples


def measure(shops: int, live_s: int, keep: Path) -> dict[str, Any]:
    backend = probe("prometheus")
    if backend is None or not {"prometheus", "promtool"} <= set(backend.executables):
        raise SystemExit("There is no Prometheus with promtool here. `make up` gets it.")
    sets = rule_sets(shops, keep)
    begin_s, samples = prepare_history(backend.executables["promtool"], shops, keep)
    with LiveCounters(shops, begin_s) as live:
        server = Server(backend.executables["prometheus"], keep, live.port)
        try:
            server.wait()
            _say(f"Prometheus {backend.version} scrapes and evaluates for {live_s} s")
            seconds: dict[str, list[float]] = {name: [] for name in sets}
            until = time.monotonic() + live_s
            while time.monotonic() < until:
                time.sleep(15)
                for name, spent in group_seconds(server, sets).items():
                    seconds[name].append(spent)
            return document_of(server, sets, shops, samples, seconds, backend.version)
        finally:
            server.stop()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slos", type=int, default=1, help="how many SLOs, of 40 raw series each")
    parser.add_argument("--folder", type=Path, help="keep the data there, or use what is there")
    parser.add_argument("--live", type=int, default=LIVE_S, metavar="SECONDS", help="how long to scrape and evaluate")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(exist_ok=True)
        document = measure(arguments.slos, arguments.live, arguments.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="slo-evaluation-") as folder:
            document = measure(arguments.slos, arguments.live, Path(folder))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    ours, sloth, period = document["sets"]["ours"], document["sets"]["sloth"], document["period"]
    rows = [
        ("samples, every rule once", ours["samples"], sloth["samples"], document["ratio_per_evaluation"]),
        ("samples an hour", ours["samples_per_hour"], sloth["samples_per_hour"], document["ratio_per_hour"]),
        ("seconds an hour in rule groups", ours["group_seconds_per_hour"], sloth["group_seconds_per_hour"],
         document["ratio_group_seconds"]),
        ("samples of the 30-day term (compared: a raw range)", period["samples"], period["raw_samples"],
         1 / period["times_fewer"]),
    ]  # fmt: skip
    print(f"{'':<48}{'ours':>14}{'compared':>16}{'ratio':>9}")  # noqa: T201
    for name, own, other, ratio in rows:
        print(f"{name:<48}{own:>14,.6g}{other:>16,.6g}{ratio:>9.4f}")  # noqa: T201
    missed = [name for name, met in document["targets"].items() if not met]
    print(f"targets missed: {', '.join(missed)}" if missed else "all targets met")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
