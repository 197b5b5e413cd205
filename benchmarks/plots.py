"""Plots of the results, as SVG.

python -m benchmarks.plots
"""

import json
from pathlib import Path

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import Result
from benchmarks.servers import WORKLOADS
from benchmarks.service import CHECKOUT

#: Texts stay texts, and the same figures make the same file.
rcParams.update(
    {"svg.fonttype": "none", "svg.hashsalt": "linkpeek", "font.family": "sans-serif", "font.size": 9}
)
OURS, OTHERS = "#c0392b", ("#2c3e50", "#2980b9", "#16a085", "#8e44ad", "#d35400", "#7f8c8d", "#27ae60")


def write(results: Result, folder: Path) -> None:
    """Draw what there are results of into a folder."""
    drawings = {
        "servers": _servers,
        "captures": _captures,
        "legacy": _legacy,
        "scale": _scale,
        "latency": _latency,
    }
    for name, draw in drawings.items():
        if name in results["parts"]:
            figure = draw(results["parts"][name]["result"])
            figure.savefig(folder / f"performance-{name}.svg", format="svg", metadata={"Date": None})


def _axes(count: int, title: str = "", height: float = 3.2) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9, height), layout="constrained")
    found = figure.subplots(1, count, squeeze=False)
    figure.suptitle(title, fontsize=10)
    return figure, list(found[0])


def _explain(figure: Figure, axes: Axes, columns: int) -> None:
    """Put one legend below all axes, for they share their lines' names and colours."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _servers(result: Result) -> Figure:
    """Requests a second and p99 by connections, for each workload."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    grid = figure.subplots(2, len(WORKLOADS), sharex=True)
    for column, (workload, words) in enumerate(WORKLOADS.items()):
        for row, (key, label) in enumerate((("rate", "requests/s"), ("p99_ms", "p99 latency, ms"))):
            axes = grid[row][column]
            for number, (name, found) in enumerate(result["servers"].items()):
                rows = found["direct"][workload]
                axes.plot(
                    [one["connections"] for one in rows],
                    [max(0.1, one[key]) for one in rows],
                    marker="o",
                    markersize=3,
                    label=name,
                    color=OURS if number == 0 else OTHERS[(number - 1) % len(OTHERS)],
                    linewidth=2 if number == 0 else 1,
                )
            axes.set(xscale="log", yscale="log", ylabel=label if column == 0 else "")
            axes.set_title(words if row == 0 else "", fontsize=9)
            axes.grid(alpha=0.3)
            axes.set_xlabel("connections" if row else "")
    _explain(figure, grid[0][0], 4)
    return figure


def _captures(result: Result) -> Figure:
    """Captures a second and latency by captures at once."""
    figure, (rate, latency) = _axes(2)
    for number, (name, found) in enumerate(result["peers"].items()):
        for axes, key in ((rate, "per_second"), (latency, "p50_ms")):
            axes.plot(
                [int(count) for count in found[key]],
                list(found[key].values()),
                marker="o",
                markersize=3,
                label=name,
                color=OURS if number == 0 else OTHERS[(number - 1) % len(OTHERS)],
                linewidth=2 if number == 0 else 1,
            )
    for axes, title in ((rate, "captures a second"), (latency, "p50 latency, ms")):
        axes.set(xscale="log", xlabel="at once")
        axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        axes.set_ylim(bottom=0)
        axes.minorticks_off()
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
    _explain(figure, rate, 3)
    return figure


def _legacy(result: Result) -> Figure:
    """Signed hits, memory and, where measured, how long it takes to come back."""
    stacks = result["stacks"]
    figure, (rate, memory, latency) = _axes(3, height=2.6)
    colours = [OURS, *OTHERS][: len(stacks)]
    for axes, title, values in (
        (rate, "signed hits/s", [one["signed"]["rate"] for one in stacks.values()]),
        (memory, "memory of the web processes, MB", [one["memory_mb"] for one in stacks.values()]),
        (latency, "p99 of signed hits, ms", [one["signed"]["p99_ms"] for one in stacks.values()]),
    ):
        bars = axes.barh(list(stacks), values, color=colours)
        axes.bar_label(bars, fmt="{:,.0f}", padding=2)
        axes.margins(x=0.2)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelleft=axes is rate)
    return figure


def _scale(result: Result) -> Figure:
    """Median and p99 by the number of snapshots."""
    figure, (hit, new) = _axes(2)
    for axes, what, title in (
        (hit, "hit", "signed hit, ms"),
        (new, "new", "new page looked for and queued, ms"),
    ):
        for number, database in enumerate(name for name in ("sqlite", "postgresql") if result[name]):
            rows = result[database]
            for key, style in (("p50", "-"), ("p99", ":")):
                axes.plot(
                    [row["snapshots"] for row in rows],
                    [row[what][key] for row in rows],
                    style,
                    marker="o",
                    color=(OURS, OTHERS[1])[number],
                    label=f"{database}, {key}",
                )
        axes.set(xscale="log", xlabel="snapshots")
        axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
    _explain(figure, hit, 4)
    return figure


def _latency(result: Result) -> Figure:
    """The mean of each step, one after the other."""
    figure, (axes,) = _axes(1, f"a first picture: {result['total']['mean']:.0f} ms on average", 1.8)
    begun = 0.0
    for number, (step, found) in enumerate(result["steps"].items()):
        axes.barh(0, found["mean"], left=begun, color=(OURS, *OTHERS)[number % 8], label=step)
        begun += found["mean"]
    axes.set(yticks=[], xlabel="milliseconds")
    figure.legend(loc="outside lower center", ncols=len(result["steps"]), frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    write(json.loads((CHECKOUT / "docs/performance.json").read_text()), CHECKOUT / "docs/images")
