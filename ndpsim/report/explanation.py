"""An explanation in words and as tables."""

from rich.console import Group, RenderableType
from rich.text import Text

from ndpsim.report.figures import digits, percent, quantity
from ndpsim.report.terminal import headed_table
from ndpsim.study.explain import Explanation

N_LAYERS = 3
"""Slowest layers shown."""


def explanation_view(explanation: Explanation) -> RenderableType:
    """Where the time went by phase, resource and layer; what a faster part buys."""
    return Group(
        *(Text(line) for line in sentences(explanation)),
        Text(),
        _critical(explanation),
        Text(),
        _layers(explanation),
        Text(),
        _what_ifs(explanation),
    )


def sentences(explanation: Explanation) -> list[str]:
    """The explanation in words, one thought a line."""
    summary = explanation.result.summary
    lines = []
    for phase, times in explanation.phases.items():
        share = percent(times["total_s"] / summary["e2e_s"])
        resource, critical_s = next(iter(explanation.critical_s[phase].items()))
        lines.append(
            f"{phase}: {quantity(times['total_s'], 's')}, {share} of the run,"
            f" {percent(times['experts_s'] / times['total_s'])} of it in expert stages;"
            f" {resource} is on the critical path for {percent(critical_s / times['total_s'])}"
        )
    best = explanation.what_ifs[0]
    if best.gain_frac > 0:
        lines.append(f"fastest way forward: {best.part}; 10 % more saves {percent(best.gain_frac)}")
    else:
        lines.append("no single part 10 % faster makes the run faster")
    bound_s = summary["bound_e2e_s"]
    if bound_s is not None:
        lines.append(
            f"the best any exact scheduler can do here is no less than {quantity(bound_s, 's')},"
            f" {percent(bound_s / summary['e2e_s'])} of this run"
        )
    return lines


def _critical(explanation: Explanation) -> RenderableType:
    table = headed_table()
    table.add_column("critical path")
    for phase in explanation.critical_s:
        table.add_column(f"{phase} s", justify="right")
        table.add_column("%", justify="right")
    names = dict.fromkeys(name for times in explanation.critical_s.values() for name in times)
    for name in names:
        row = [name]
        for phase, times in explanation.critical_s.items():
            time_s = times.get(name, 0.0)
            total_s = explanation.phases[phase]["total_s"]
            row += [digits(time_s), f"{100 * time_s / total_s:.1f}"]
        table.add_row(*row)
    return table


def _layers(explanation: Explanation) -> RenderableType:
    table = headed_table()
    for title in ("phase", "slowest layers, experts", "ms", "mean over layers, ms"):
        table.add_column(title, justify="left" if title == "phase" else "right")
    for phase, rows in explanation.result.layers.groupby("phase", sort=False):
        experts = rows.set_index("layer")["experts_ps"]
        experts = experts[experts > 0]
        slowest = experts.nlargest(N_LAYERS)
        table.add_row(
            str(phase),
            ", ".join(str(layer) for layer in slowest.index),
            ", ".join(digits(time_ps / 1e9) for time_ps in slowest),
            digits(float(experts.mean()) / 1e9) if len(experts) else "-",
        )
    return table


def _what_ifs(explanation: Explanation) -> RenderableType:
    table = headed_table()
    for title in ("10 % faster", "e2e s", "saves"):
        table.add_column(title, justify="left" if title == "10 % faster" else "right")
    for what_if in explanation.what_ifs:
        table.add_row(what_if.part, digits(what_if.e2e_s, 4), f"{100 * what_if.gain_frac:.2f} %")
    return table
