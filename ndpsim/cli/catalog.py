"""Presets and policies by kind: `ndpsim list` and `ndpsim show`."""

import re
from collections.abc import Mapping
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ndpsim import registry
from ndpsim.cli.output import print_json, print_view
from ndpsim.cpu import CpuSpec
from ndpsim.dram import DramSpec, StandardSpec
from ndpsim.errors import unknown
from ndpsim.gpu import GpuSpec
from ndpsim.link import LinkSpec
from ndpsim.ndp import NdpSpec
from ndpsim.policy import Policy, SchedulerSpec
from ndpsim.spec import (
    Spec,
    describe,
    load_preset,
    preset_about,
    preset_names,
    preset_sources,
)
from ndpsim.system import SystemSpec
from ndpsim.workload import FormatSpec, ModelSpec

PRESETS: Final[Mapping[str, type[Spec]]] = {
    "cpu": CpuSpec,
    "dram": DramSpec,
    "dram/standard": StandardSpec,
    "format": FormatSpec,
    "gpu": GpuSpec,
    "link": LinkSpec,
    "model": ModelSpec,
    "ndp": NdpSpec,
    "scheduler": SchedulerSpec,
    "system": SystemSpec,
}
"""Kinds of presets -> what a preset of that kind describes."""

_REASON: Final = re.compile(r"^(?:preset [^:]+: )?(assumed|derived|default)\b")


def show_kind(kind: str, as_json: bool) -> None:
    """Print the names of a kind with one line about each."""
    _check_kind(kind)
    rows = [_row(kind, name) for name in _names(kind)]
    if as_json:
        print_json(rows)
        return
    if kind == "scheduler":
        for row in rows:
            print_view(_entry(row))
        return
    table = _table(*rows[0]) if rows else _table("name", "about")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    print_view(table)


def _entry(row: Mapping[str, Any]) -> RenderableType:
    """A scheduler as a name and an indented paragraph: more facts than columns fit."""
    kind = ("exact" if row["exact"] else "not exact") + (", an oracle" if row["oracle"] else "")
    facts = [
        row["about"],
        f"{kind}; uses {_cell(row['devices'])}; needs {_cell(row['trace']) or 'ids'} of the trace",
    ]
    if row["source"]:
        facts.append(f"source: {row['source']}")
    return Group(Text(row["name"], style="bold"), Padding(Text("\n".join(facts)), (0, 0, 0, 2)))


def show_item(kind: str, name: str, as_json: bool) -> None:
    """Print every value of a preset or policy and where it came from."""
    _check_kind(kind)
    rows = _described(kind, name) if kind in PRESETS else _parameters(kind, name)
    about = _row(kind, name)["about"]
    if as_json:
        print_json({"kind": kind, "name": name, "about": about, "values": rows})
        return
    print(f"{kind}/{name}: {about}")
    if not rows:
        return
    notes: dict[str, int] = {}
    table = _table("path", "value", "source")
    for row in rows:
        number = notes.setdefault(row["source"], len(notes) + 1)
        reason = _REASON.search(row["source"])
        table.add_row(row["path"], row["value"], f"[{number}]{f' {reason[1]}' if reason else ''}")
    print_view(table)
    print()
    for source, number in notes.items():
        print(f"[{number}] {source}")


def _check_kind(kind: str) -> None:
    known = [*PRESETS, *registry.KINDS]
    if kind not in known:
        raise unknown("list", "kind", kind, known)


def _names(kind: str) -> list[str]:
    return preset_names(kind) if kind in PRESETS else registry.names(kind)


def _row(kind: str, name: str) -> dict[str, Any]:
    if kind not in PRESETS:
        policy: type[Policy] = registry.lookup(kind, name)
        return {"name": name, "about": _first_line(policy), "from": policy.source}
    about = preset_about(kind, name)
    if kind != "scheduler":
        return {"name": name, "about": about}
    scheduler = load_preset(kind, name, SchedulerSpec)
    return {
        "name": name,
        "about": about,
        "exact": scheduler.exact,
        "oracle": scheduler.oracle,
        "devices": list(scheduler.devices),
        "trace": list(scheduler.trace_fields),
        "source": "; ".join(preset_sources(kind, name)),
    }


def _first_line(policy: type[Policy]) -> str:
    return (policy.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").strip()


def _described(kind: str, name: str) -> list[dict[str, str]]:
    return [
        {"path": row.path, "value": row.value, "source": row.source}
        for row in describe(kind, name, PRESETS[kind])
    ]


def _parameters(kind: str, name: str) -> list[dict[str, str]]:
    policy: type[Policy] = registry.lookup(kind, name)
    where = registry.origin(kind, name)
    return [
        {
            "path": field,
            "value": "required" if info.is_required() else str(info.default),
            "source": " ".join((info.description or where).split()),
        }
        for field, info in policy.model_fields.items()
    ]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _table(*heads: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for index, head in enumerate(heads):
        table.add_column(head, no_wrap=index == 0, overflow="fold")
    return table
