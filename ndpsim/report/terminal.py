"""Runs, comparisons and traces as tables for a terminal, or as plain text when piped."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ndpsim.experiment import RunResult
from ndpsim.report.figures import column, digits, gib, percent, quantity
from ndpsim.study import Comparison
from ndpsim.units import parse_quantity

_BAR: Final = 24
_NEGLIGIBLE: Final = 0.005
"""Shares of the critical path below this are added up."""
_KINDS: Final = (
    (re.compile(r"ndp\d+\.ranks"), "NDP memory"),
    (re.compile(r"ndp\d+"), "NDP compute"),
    (re.compile(r"gpu"), "GPU"),
    (re.compile(r"cpu"), "host CPU"),
    (re.compile(r"latency"), "link and command latency"),
)
_POLICIES: Final = ("partition", "dispatch", "prefetch", "cache")
Pairs = list[tuple[str, RenderableType]]


def run_view(
    result: RunResult, notes: Sequence[str] = (), *, plain: bool = False
) -> RenderableType:
    """One run: what was simulated, how long it took, what limited it, what it cost.

    Parameters
    ----------
    notes
        Lines to add at the end.
    plain
        Whether to draw with ASCII only.
    """
    parts: list[RenderableType] = [
        _grid(_subject(result)),
        _section("time"),
        _grid(_times(result.summary)),
        _section("what limited the run: shares of the critical path"),
        Text(limits(result.summary)),
        _section("resources: busy time and bytes moved"),
        _resources(result.summary, plain),
        _section("experts and memory"),
        _grid(_placement(result)),
        _section("energy"),
        _energy(result.summary, plain),
    ]
    if notes:
        parts += [Text(), *(Text(note) for note in notes)]
    return Group(*parts)


def comparison_view(comparison: Comparison) -> RenderableType:
    """Runs under several schedulers, fastest first."""
    runs = sorted(comparison, key=lambda run: run.summary["e2e_s"])
    base_s = next(r.summary["e2e_s"] for r in runs if r.summary["scheduler"] == comparison.baseline)
    summaries = [run.summary for run in runs]

    def of(key: str) -> list[Any]:
        return [summary[key] for summary in summaries]

    bounds = [s["bound_e2e_s"] and 100 * s["bound_e2e_s"] / s["e2e_s"] for s in summaries]
    hits = [None if hit is None else 100 * hit for hit in of("gpu_hit_frac")]
    columns = {
        "e2e": column(of("e2e_s"), "s"),
        "": ("x", [f"{digits(base_s / e2e_s)}x" for e2e_s in of("e2e_s")]),
        "TTFT": column(of("ttft_s"), "s"),
        "TPOT": column(of("tpot_s"), "s"),
        "MoE": column(of("moe_decode_s"), "s"),
        "hit": ("%", [_figure(hit) for hit in hits]),
        "imb": ("", [_figure(value) for value in of("ndp_imbalance")]),
        "GPU": column([gpu_link_bytes(run) for run in runs], "B"),
        "energy": column([sum(parts.values()) for parts in of("energy_j")], "J"),
        "bound": ("%", [_figure(value) for value in bounds]),
    }
    table = headed_table(gap=1)
    table.add_column("\nscheduler", no_wrap=True)
    for name, (unit, _) in columns.items():
        table.add_column(f"{name}\n{unit}", justify="right", no_wrap=True)
    for name, *cells in zip(
        of("scheduler"), *(cells for _, cells in columns.values()), strict=True
    ):
        table.add_row(name, *cells)
    first = runs[0]
    return Group(
        _grid(_subject(first, with_scheduler=False)),
        Text(),
        table,
        Text(),
        Text(
            f"x: speed-up over {comparison.baseline}. MoE: decode's time in MoE layers. "
            "hit: decode's (token, expert) pairs resident on the GPU. "
            "imb: busiest NDP unit over their mean. GPU: bytes to and from it. "
            "bound: the time no scheduler can beat, over e2e."
        ),
    )


def stats_view(stats: Mapping[str, Any], origin: str) -> RenderableType:
    """What a routing trace says about its model, by layer."""
    heads = {
        "hottest_over_mean": "hottest\nx mean",
        "gini": "Gini\n",
        "top_10pct_frac": "top 10 %\nof experts",
        "distinct_per_512": "distinct\nper 512",
        "reuse_frac": "reuse\n",
        "reuse_chance_frac": "reuse by\nchance",
        "prefill_decode_cosine": "prefill~\ndecode",
    }
    table = headed_table()
    table.add_column("layer\n", justify="right")
    for head in heads.values():
        table.add_column(head, justify="right")
    for row in stats["layers"]:
        table.add_row(str(row["layer"]), *(_figure(row[name]) for name in heads))
    table.add_section()
    table.add_row("mean", *(_figure(stats["mean"][name]) for name in heads))
    pairs: Pairs = [
        ("trace", origin + (" (SYNTHETIC)" if stats["synthetic"] else "")),
        ("model", str(stats["model"])),
        (
            "geometry",
            f"{stats['n_layers']} MoE layers, {stats['n_experts']} experts, top-{stats['top_k']}",
        ),
        ("length", f"{stats['n_tokens']} tokens in {stats['n_sequences']} sequences"),
    ]
    return Group(_grid(pairs), table)


def limits(summary: Mapping[str, Any]) -> str:
    """The critical path by kind of resource, in words, largest first."""
    kinds: dict[str, dict[str, float]] = {}
    for name, frac in summary["critical_frac"].items():
        kinds.setdefault(_kind(name), {})[name] = frac
    shares = {kind: sum(members.values()) for kind, members in kinds.items()}
    ordered = sorted(shares, key=lambda kind: -shares[kind])
    named = [kind for kind in ordered if shares[kind] >= _NEGLIGIBLE]
    texts = [f"{percent(shares[kind])} {kind}{_members(kinds[kind])}" for kind in named]
    rest = sum(shares[kind] for kind in ordered if kind not in named)
    if rest > 0:
        texts.append(f"{percent(rest)} other")
    return ", ".join(texts)


def _kind(resource: str) -> str:
    for pattern, kind in _KINDS:
        if pattern.fullmatch(resource):
            return kind
    return "links"


def _members(shares: Mapping[str, float]) -> str:
    """The resources of a kind, where their kind does not say which; the largest at most."""
    names = sorted(shares, key=lambda name: -shares[name])
    if names[0] in ("gpu", "cpu", "latency"):
        return ""
    return f" ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"


def _subject(result: RunResult, *, with_scheduler: bool = True) -> Pairs:
    summary, values = result.summary, result.values
    workload, formats = values["workload"], values["formats"]
    names = list(dict.fromkeys(part["name"] for part in formats.values()))
    pairs: Pairs = [
        ("model", f"{summary['model']}, {', '.join(names)}"),
        ("machine", _machine(result)),
        ("scheduler", _scheduler(values["scheduler"])),
        (
            "request",
            f"{workload['prompt_tokens']} tokens in, {workload['output_tokens']} out, "
            f"batch {workload['batch']}",
        ),
        ("routing", _routing(result)),
    ]
    return pairs if with_scheduler else [pair for pair in pairs if pair[0] != "scheduler"]


def _machine(result: RunResult) -> str:
    system = result.values["system"]

    def name(kind: str, path: str) -> str:
        return _preset(result.provenance, kind, f"system.{path}")

    parts = [f"{name('gpu', 'gpu.sms')} GPU", f"{name('cpu', 'cpu.cores')} host"]
    if system["ndp"]:
        parts.append(f"{system['ndp']['count']} x {name('ndp', 'ndp.unit.capacity')} NDP")
    return f"{name('system', 'gpu_reserved')}: {', '.join(parts)}"


def _preset(provenance: Mapping[str, str], kind: str, path: str) -> str:
    """Name of the preset that a value came from; "custom" for a value of the configuration."""
    match = re.match(rf"preset {kind}/([^:]+)", provenance.get(path, ""))
    return match[1] if match else "custom"


def _scheduler(scheduler: Mapping[str, Any]) -> str:
    policies = [f"{kind} {scheduler[kind]['policy']}" for kind in _POLICIES]
    return f"{scheduler['name']} ({', '.join(policies)})"


def _routing(result: RunResult) -> Text:
    """Where routing comes from; whatever no model chose is labelled."""
    summary, trace = result.summary, result.values["trace"]
    origin = summary["trace_origin"]
    if not summary["synthetic_trace"]:
        return Text(f"captured from {origin}")
    if isinstance(trace, dict) and trace["extend"]:
        why = f"in part: {origin}, what it lacks made up by trace.extend '{trace['extend']}'"
    else:
        why = f"(drawn, not what a model chose), for {origin}"
    return Text("SYNTHETIC", style="bold yellow").append(f" {why}", style="not bold default")


def _times(summary: Mapping[str, Any]) -> Pairs:
    e2e_s = summary["e2e_s"]
    tpot_s, bound_s = summary["tpot_s"], summary["bound_e2e_s"]
    moe_s = summary["moe_prefill_s"] + summary["moe_decode_s"]
    if bound_s is None:
        bound = "none: this scheduler changes what the model computes"
    else:
        bound = f"{quantity(bound_s, 's', 4)}, the run is at {percent(bound_s / e2e_s)} of it"
    return [
        ("end to end", f"{quantity(e2e_s, 's', 4)}, {percent(moe_s / e2e_s)} in MoE layers"),
        ("TTFT, prefill", _phase(summary["ttft_s"], summary["moe_prefill_s"])),
        ("TPOT", "undefined for one output token" if tpot_s is None else quantity(tpot_s, "s", 4)),
        ("decode", _phase(summary["decode_s"], summary["moe_decode_s"])),
        ("output rate", f"{digits(summary['output_tokens_per_s'], 4)} tokens/s"),
        ("lower bound", bound),
    ]


def _phase(whole_s: float, moe_s: float) -> str:
    if whole_s == 0:
        return "0 s"
    whole, moe = quantity(whole_s, "s", 4), quantity(moe_s, "s", 4)
    return f"{whole}, {moe} of it in MoE layers ({percent(moe_s / whole_s)})"


def _resources(summary: Mapping[str, Any], plain: bool) -> Table:
    moved = summary["link_bytes"]
    table = _frame()
    for name, frac in summary["utilization"].items():
        n_bytes = quantity(moved[name], "B") if name in moved else ""
        table.add_row(name, _bar(frac, plain), _right(percent(frac)), _right(n_bytes))
    return table


def _right(text: str) -> Text:
    return Text(text, justify="right")


def _bar(frac: float, plain: bool) -> Text:
    full, empty = ("#", ".") if plain else ("█", "░")
    n_full = min(round(frac * _BAR), _BAR)
    return Text(full * n_full, style="cyan").append(empty * (_BAR - n_full), style="dim")


def _placement(result: RunResult) -> Pairs:
    summary = result.summary
    hit, imbalance = summary["gpu_hit_frac"], summary["ndp_imbalance"]
    return [
        (
            "GPU hits",
            "no decode steps"
            if hit is None
            else f"{percent(hit)} of decode's (token, expert) pairs",
        ),
        ("prefetched", f"{summary['prefetched_experts']} experts"),
        (
            "NDP imbalance",
            "none computed" if imbalance is None else f"{digits(imbalance)} (busiest over mean)",
        ),
        ("memory, peak", _memory(result)),
    ]


def _memory(result: RunResult) -> str:
    system = result.values["system"]
    capacities = {
        "gpu": system["gpu"]["memory_capacity"],
        "memory": system["cpu"]["memory_capacity"],
        "ndp": system["ndp"] and system["ndp"]["unit"]["capacity"],
    }
    texts = []
    for names, n_bytes in _alike(result.summary["memory_bytes"]):
        capacity = parse_quantity(capacities[_stem(names[0])], "size")
        each = " each" if len(names) > 1 else ""
        texts.append(f"{_span(names)} {gib(n_bytes)} of {gib(capacity)} GiB{each}")
    return ", ".join(texts)


def _stem(name: str) -> str:
    """A device's name without its number."""
    return name.rstrip("0123456789")


def _alike(amounts: Mapping[str, int]) -> Iterable[tuple[list[str], int]]:
    """Devices of one kind with the same amount, together."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, amount in amounts.items():
        groups.setdefault((_stem(name), amount), []).append(name)
    for (_, amount), names in groups.items():
        yield names, amount


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _energy(summary: Mapping[str, Any], plain: bool) -> Table:
    parts = {name: joules for name, joules in summary["energy_j"].items() if joules}
    total = sum(parts.values())
    n_tokens = summary["output_tokens_per_s"] * summary["e2e_s"]
    table = _frame()
    for name in sorted(parts, key=lambda name: -parts[name]):
        frac = parts[name] / total
        amount = quantity(parts[name], "J")
        table.add_row(name, _bar(frac, plain), _right(percent(frac)), _right(amount))
    per_token = f"{quantity(total / n_tokens, 'J')} per output token"
    table.add_row("total", per_token, "", _right(quantity(total, "J")))
    return table


def gpu_link_bytes(result: RunResult) -> int:
    """Bytes over the links that end at the GPU, both directions."""
    groups = result.values["system"]["topology"]
    names = [group["name"] for group in groups if "gpu" in group["ends"]]
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, names))})(?:\d+)?(?:\.\w+)?")
    return sum(n for link, n in result.summary["link_bytes"].items() if pattern.fullmatch(link))


def _figure(value: float | None) -> str:
    return "-" if value is None else digits(value)


def _section(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def headed_table(gap: int = 2) -> Table:
    """A table with headings and nothing else, `gap` columns apart."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, gap - 1, 0, 0),  # the box adds one
        header_style="bold",
    )


def _frame() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _grid(pairs: Pairs) -> Table:
    table = _frame()
    table.add_column(no_wrap=True, min_width=14)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return table
