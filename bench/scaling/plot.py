"""The plot of a proof: a column a scenario, load and answers above, replicas in the middle, pressure below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FAINT = "#999"


def plot(document: dict[str, Any], path: Path) -> None:
    """Write an SVG of the scenarios that have samples; the same document gives the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "signalbox"
    mpl.rcParams["font.size"] = 8
    from matplotlib import pyplot

    names = [name for name, scenario in document["scenarios"].items() if scenario["samples"]]
    figure, rows = pyplot.subplots(
        3, len(names), figsize=(4.2 * len(names), 6.5), layout="constrained", sharex="col", squeeze=False
    )
    minute = 60 / document["clock"]
    for column, name in enumerate(names):
        scenario = document["scenarios"][name]
        samples = scenario["samples"]
        at = [sample["at_s"] / minute for sample in samples]
        load, replicas, pressure = (rows[row][column] for row in range(3))
        load.set_title(f"{name}: {'held' if scenario['held'] else 'NOT held'}")
        load.plot(at, [sample["rate_per_s"] for sample in samples], color="#1f77b4", label="orders asked for, a second")
        load.bar(at, [sample["bad"] for sample in samples], width=1.5 / minute, color="#d62728", label="bad answers")
        replicas.step(
            at, [s["wished"] for s in samples], where="post", color="#2ca02c", label="wished for (Deployment)"
        )
        replicas.step(at, [s["ready"] for s in samples], where="post", color=FAINT, ls="--", label="processes ready")
        replicas.axhline(document["maximum"], color="#d62728", lw=0.8, ls=":", label="what the database allows")
        replicas.set_ylim(0, document["maximum"] + 1)
        pressure.plot(at, [s["asked"] for s in samples], color=FAINT, ls="--", label="pressure of the drivers")
        pressure.plot(at, [s["pressure"] for s in samples], color="#9467bd", label="pressure after holds")
        pressure.plot(at, [s["in_flight"] for s in samples], color="#ff7f0e", lw=0.9, label="in flight ÷ capacity")
        paging = [bool(sample["paging"]) for sample in samples]
        pressure.fill_between(
            at,
            0,
            1,
            where=paging,
            transform=pressure.get_xaxis_transform(),
            color="#d62728",
            alpha=0.12,
            lw=0,
            label="a page fires",
        )
        pressure.set_ylim(0, 2.5)
        pressure.set_xlabel(f"minutes of the clock's world ({minute:.0f} s each)")
        for axes in (load, replicas, pressure):
            axes.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axes.legend(frameon=False, loc="upper right", fontsize=6.5)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
