"""The report: tables in Markdown, charts in SVG, from the raw results and what ci/sched says of the image.

    python3 -m sched_bench.report FOLDER      writes both anew, from raw.jsonl and told.json, without measuring

``ci/sched`` writes both files; it does the same itself after it has measured.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import charts
from .analysis import CONFIDENCE, DIFFERENT, MARGIN, UNJUDGED, Comparison, Interval, compare, medians
from .audit import Treatment, conclusion, predictions, treatments
from .configurations import CONFIGURATIONS, REFERENCE
from .histogram import pooled, quantile
from .journal import read
from .journal import runs as finished_runs
from .measures import MEASURES
from .workloads import WORKLOADS

Record = Mapping[str, Any]
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
EMULATED = "Processors were emulated: ratios count, seconds do not."
RAW, TOLD = "raw.jsonl", "told.json"


def number(value: float | None) -> str:
    """Three digits that count."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def ratio(found: Interval | None) -> str:
    """A ratio with its interval."""
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.ratio:.3f}"
    return f"{found.ratio:.3f} ({_end(found.low)} to {_end(found.high)})"


def _end(value: float) -> str:
    """Of an interval; where two pairs contradict one another it is out of every reasonable range."""
    return f"{value:.3f}" if 0.001 <= value < 1000 else f"{value:.0e}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def report(records: Sequence[Record], told: Mapping[str, str]) -> str:
    """The whole report; ``told`` says what it was measured on."""
    runs = finished_runs(list(records))
    head = records[0] if records else {}
    lines = ["# The scheduler's ablation", ""]
    lines += [f"- {name}: {value}" for name, value in told.items()]
    blocks = len({run["block"] for run in runs})
    lines += [f"- seed {head.get('seed')}, {blocks} blocks, {len(runs)} runs", ""]
    comparisons = compare(runs)
    lines += [*_reading(comparisons), *_not_measured(records, runs), *_comparisons(runs, comparisons)]
    lines += [*_latencies(runs), *_predicted(records, runs), *_costs(records, runs), *_fairness(runs)]
    return "\n".join(lines)


def _reading(comparisons: Sequence[Comparison]) -> Iterator[str]:
    judged = [each for each in comparisons if each.verdict not in UNJUDGED]
    different = sum(each.verdict in DIFFERENT for each in judged)
    yield (
        "Ratios are to the column before the median, in the same block: geometric means, with Student's intervals of "
        f"{CONFIDENCE:.0%} of the logarithms. `same`: within {MARGIN:.0%}; `undecided`: more than one answer is "
        "possible, which is most of what two pairs say."
    )
    yield (
        f"Of {len(judged)} comparisons up to about {round(len(judged) * (1 - CONFIDENCE))} would have a verdict other "
        f"than `same` and `undecided` by chance if nothing were different; {different} have one. Those of one workload "
        "and measure share the reference's runs, so chance comes in groups."
    )
    yield ""
    yield from (f"- `{item.name}`: {item.says}" for item in CONFIGURATIONS.values())
    yield ""


def _not_measured(records: Sequence[Record], runs: Sequence[Record]) -> Iterator[str]:
    machine = next((record for record in records if record.get("kind") == "machine"), {})
    said = [
        f"- {name}: {why}"
        for part in ("workloads", "configurations")
        for name, why in machine.get(part, {}).items()
        if why
    ]
    said += [f"- the trees: {record['why']}" for record in records if record.get("kind") == "no model"]
    trainings = [record for record in records if record.get("kind") == "training" and record.get("fault")]
    said += [f"- {record['workload']} for the trees to learn from: {record['fault']}" for record in trainings]
    faults = Counter((run["workload"], run["configuration"], run["fault"]) for run in runs if run.get("fault"))
    said += [f"- {workload} under {which}: {why} ({count} runs)" for (workload, which, why), count in faults.items()]
    if said:
        yield from ("## Not measured", "", *said, "")


def _comparisons(runs: Sequence[Record], comparisons: Sequence[Comparison]) -> Iterator[str]:
    base = medians(runs)
    for name, measure in MEASURES.items():
        chosen = [each for each in comparisons if each.measure == name]
        if not chosen:
            continue
        way = f", {measure.better} is better" if measure.better else ""
        yield from (f"## {measure.title[0].upper()}{measure.title[1:]}{way}", "", f"From: {measure.source}.", "")
        unit = f", {measure.unit}" if measure.unit else ""
        rows = []
        for each in chosen:
            reference = number(base.get((each.workload, name)))
            pairs = (
                f"{each.interval.pairs if each.interval else 0}{f' (without {each.without})' if each.without else ''}"
            )
            row = [each.workload, each.configuration, reference, number(each.median), ratio(each.interval)]
            rows.append([*row, pairs, each.verdict])
        columns = (
            "workload",
            "configuration",
            f"{measure.reference}{unit}",
            f"median{unit}",
            "ratio",
            "pairs",
            "verdict",
        )
        yield from table(columns, rows)
        yield from (f"Chart: [{_ratio_chart(name)}]({_ratio_chart(name)})", "")


def _ratio_chart(measure: str) -> str:
    return f"ratio-{measure}.svg"


def _latency_chart(workload: str) -> str:
    return f"latency-{workload}.svg"


def histograms(runs: Sequence[Record], workload: str) -> dict[str, dict[str, int]]:
    """The probe's delays by configuration, of all blocks together."""
    found: dict[str, list[Mapping[str, int]]] = {}
    for run in runs:
        if run["workload"] == workload and not run.get("fault") and "probe" in run:
            found.setdefault(run["configuration"], []).append(run["probe"]["counts"])
    return {name: pooled(found[name]) for name in CONFIGURATIONS if name in found}


def _latencies(runs: Sequence[Record]) -> Iterator[str]:
    rows = []
    for workload in WORKLOADS:
        for name, counts in histograms(runs, workload).items():
            cells = [number(quantile(counts, share)) for share in (0.5, 0.99, 0.999)]
            rows.append([workload, name, str(sum(counts.values())), *cells])
    if rows:
        yield from ("## Wake-up latency of the probe, all blocks together", "")
        yield from table(("workload", "configuration", "wake-ups", "p50, us", "p99, us", "p99.9, us"), rows)
        charted = [_latency_chart(workload) for workload in WORKLOADS if histograms(runs, workload)]
        yield from (f"Charts: {', '.join(f'[{name}]({name})' for name in charted)}", "")


def _predicted(records: Sequence[Record], runs: Sequence[Record]) -> Iterator[str]:
    model = next((record for record in records if record.get("kind") == "model"), None)
    found = predictions(runs)
    if not model and not found:
        return
    yield from ("## Predictions", "")
    if model:
        errors = ", ".join(f"{name} {error:.3f}" for name, error in model["tried"]["errors"].items())
        yield f"The trees were learned from {model['samples']} bursts of runs with other seeds. On bursts of those runs"
        yield from (f"that were held out they erred by (mean |log2|): {errors}. In the measured runs:", "")
    rows = [[p.workload, p.configuration, f"{p.error:.3f}", f"{p.bias:+.3f}", str(p.bursts)] for p in found]
    yield from table(("workload", "configuration", "mean error of log2", "bias", "bursts"), rows)


def _costs(records: Sequence[Record], runs: Sequence[Record]) -> Iterator[str]:
    rows = []
    for name in CONFIGURATIONS:
        chosen = [
            run["driver"] for run in runs if run["configuration"] == name and run.get("driver", {}).get("seconds")
        ]
        if not chosen:
            continue
        seconds = sum(each["seconds"] for each in chosen)
        share = sum(each["cpu_seconds"] for each in chosen) / seconds
        counts: Counter[str] = Counter()
        for each in chosen:
            counts.update(each["counters"])
        per_second = [number(counts[key] / seconds) for key in ("switches", "kicks", "samples", "lost", "misses")]
        rows.append([name, f"{share:.2%}", *per_second])
    if rows:
        yield from ("## Cost in user space", "")
        yield "Processor time of the process that loads, polls and reads the programs, of one processor. What they"
        yield from ("themselves cost in the kernel is in the work done.", "")
        columns = (
            "configuration",
            "processor time",
            "switches/s",
            "kicks/s",
            "samples/s",
            "lost/s",
            "oracle's misses/s",
        )
        yield from table(columns, rows)
    for model in (record for record in records if record.get("kind") == "model"):
        yield f"Learning from {model['samples']} bursts took {number(model['cpu_seconds'])} s of processor time, once."
        yield ""


def _fairness(runs: Sequence[Record]) -> Iterator[str]:
    found = treatments(runs)
    if not found:
        return
    yield from ("## Audit of fairness", "")
    yield "Processor time by weight, 1 in the mean over owners. `steady` and `bursty` are users of the same weight who"
    yield "work differently. A learned policy that treats owners by more than their weights shows in the ratio."
    yield ""
    rows = [_row(each) for each in found]
    columns = (
        "configuration",
        "owner",
        "weight",
        "share by weight",
        f"against {REFERENCE}",
        "wait, ms",
        "bias",
        "bursts",
    )
    yield from table(columns, rows)
    for name in CONFIGURATIONS:
        if name != REFERENCE and any(each.configuration == name for each in found):
            yield f"- {name}: {conclusion(found, name)}"
    yield ""


def _row(each: Treatment) -> list[str]:
    bias = "" if each.bias is None else f"{each.bias:+.2f}"
    cells = [each.configuration, each.owner, str(each.weight), f"{each.share:.3f}", ratio(each.against)]
    return [*cells, number(each.wait_ms), bias, str(each.bursts)]


def write(folder: Path, records: Sequence[Record], told: Mapping[str, str]) -> list[Path]:
    """Writes ``report.md`` and the charts; what was written."""
    runs = finished_runs(list(records))
    comparisons = compare(runs)
    texts = {"report.md": report(records, told)}
    for name, measure in MEASURES.items():
        if chosen := [each for each in comparisons if each.measure == name]:
            texts[_ratio_chart(name)] = charts.ratios(f"{measure.title}, ratio to {measure.reference}", chosen)
    for workload in WORKLOADS:
        found = histograms(runs, workload)
        lines = {
            name: [(share, value) for share in SHARES if (value := quantile(counts, share)) is not None]
            for name, counts in found.items()
        }
        if lines:
            texts[_latency_chart(workload)] = charts.quantiles(f"wake-up latency beside {workload}", "us", lines)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def main() -> None:
    """Write the report of a folder anew.

    Raises:
        OSError: there are no results in it.
        JournalError: they are damaged.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    for path in write(folder, read(folder / RAW), told):
        print(f"written: {path}")


if __name__ == "__main__":
    main()
