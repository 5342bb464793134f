"""One picture of what was measured: before and after, what each improvement is worth, knees by replicas, the spike.

Draws what the document has. Owns no figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FULL_SHARE, GREY, PLAIN_COLOUR, SERVICE_COLOUR = 1.0, "#888", "#c44e52", "#4c72b0"


def plot(document: dict[str, Any], path: Path) -> None:
    """Write the picture, the same for the same document."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "signalbox"
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(14, 9), layout="constrained")
    panels = {
        "claims": (axes[0][0], _claims),
        "compare": (axes[0][1], _compare),
        "knee": (axes[1][0], _knee),
        "spike": (axes[1][1], _spike),
    }
    for name, (panel, draw) in panels.items():
        panel.spines[["top", "right"]].set_visible(False)
        if name in document:
            draw(panel, document)
        else:
            panel.set_title(f"{name}: not measured")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _claims(axes: Any, document: dict[str, Any]) -> None:
    """Before and after, as shares of before, with the figures themselves; and the blueprint's word."""
    compared, deployed = document["compare"], document["deploy"]
    plain, ours = compared["plain"], compared["service"]
    rows = [
        ("p95 at the same rate", plain["p95_ms"], ours["p95_ms"], "ms", 1 + _claimed(document, "p95 at the same rate")),
        (
            "CPU of 1,000 requests",
            plain["all_cpu_s_per_1000"],
            ours["all_cpu_s_per_1000"],
            "s",
            1 + _claimed(document, "cost of a request"),
        ),
        ("failed in a deploy", deployed["plain"]["failed"], deployed["service"]["failed"], "requests", 0),
    ]
    for place, (_, before, after, unit, claimed) in enumerate(rows):
        share = after / before if before else FULL_SHARE * bool(after)
        for offset, height, value, colour in (
            (-0.2, FULL_SHARE if before else 0, before, PLAIN_COLOUR),
            (0.2, share, after, SERVICE_COLOUR),
        ):
            axes.bar(place + offset, height, 0.36, color=colour)
            axes.text(place + offset, height + 0.02, f"{value:g} {unit}", ha="center", fontsize=8)
        axes.hlines(claimed, place, place + 0.4, color="black", linestyle=":", linewidth=1.5)
    axes.set_xticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylabel("share of the plain variant's")
    axes.set_title("Before (plain) and after (service); dotted: the blueprint's claim")


def _claimed(document: dict[str, Any], name: str) -> float:
    return float(document["claims"][name]["claimed"])


def _compare(axes: Any, document: dict[str, Any]) -> None:
    """Two bars a variant: CPU time and p95, as shares of the plain one's."""
    compared = document["compare"]
    for offset, key, label in ((-0.2, "all_cpu", "CPU time of everything"), (0.2, "p95", "p95 at the same rate")):
        shares = [of["against_plain"][key] for of in compared.values()]
        axes.bar([place + offset for place in range(len(compared))], shares, 0.36, label=label)
    axes.axhline(FULL_SHARE, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(compared)), [name.replace(" + ", "\n+ ") for name in compared], fontsize=8)
    axes.set_ylabel("share of the plain variant's")
    axes.set_title("What each improvement is worth by itself")
    axes.legend(frameon=False)


def _knee(axes: Any, document: dict[str, Any]) -> None:
    """p95 over the rate, a line for each number of replicas; what each core then carries is in the legend."""
    lines = [(f"{of['replicas']} × service", of) for of in document["knee"]]
    if plain := document.get("plain_knee"):
        lines.append(("1 × plain", plain))
    for name, of in lines:
        points = of["points"]
        label = f"{name}: {_carried(of)}, {of['requests_per_core_s']:g}/s a core"
        rates, waits = [at["rate_per_s"] for at in points], [at["p95_ms"] for at in points]
        axes.plot(rates, waits, marker="o", label=label, color=PLAIN_COLOUR if name == "1 × plain" else None)
    axes.axhline(document["most_p95_ms"], color=GREY, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("requests a second (open loop, through the gateway)")
    axes.set_ylabel("p95 in ms")
    axes.set_title("The knee, by replicas")
    axes.legend(frameon=False, fontsize=8)


def _carried(of: dict[str, Any]) -> str:
    return f"carries {of['carried']['rate_per_s']:.0f}/s" if of["carried"] else "carries less"


def _spike(axes: Any, document: dict[str, Any]) -> None:
    """p95 second by second; crosses are seconds in which requests failed."""
    spike = document["spike"]
    for (name, of), colour in zip(spike["variants"].items(), (PLAIN_COLOUR, SERVICE_COLOUR), strict=True):
        over = of["recovered_after_s"]
        ended = "not over at the end" if over is None else f"over after {over:g} s"
        label = f"{name}: {of['spike']['failed']} failed, {ended}"
        seconds = [at["second"] for at in of["seconds"]]
        waits = [max(at["p95_ms"], 1) for at in of["seconds"]]
        axes.plot(seconds, waits, label=label, color=colour)
        bad = [(at["second"], max(at["p95_ms"], 1)) for at in of["seconds"] if at["failed"]]
        axes.plot([second for second, _ in bad], [wait for _, wait in bad], "x", color=colour)
    before_s, spike_s, _ = spike["legs_s"]
    axes.axvspan(before_s, before_s + spike_s, color=GREY, alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("seconds")
    axes.set_ylabel("p95 in ms of the requests due in that second")
    axes.set_title(f"From {spike['usual_per_s']:g} to {spike['peak_per_s']:g} requests a second and back")
    axes.legend(frameon=False, fontsize=8)
