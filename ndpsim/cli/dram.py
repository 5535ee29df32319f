"""`ndpsim dram`: the DRAM model alone."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ndpsim.dram.report import Report

dram_app = typer.Typer(help="The DRAM model alone.", rich_markup_mode=None)


@dram_app.callback()
def _root() -> None:
    """Keep `run` a sub-command."""


@dram_app.command()
def run(
    standard: Annotated[
        str,
        typer.Option(
            "--standard",
            "--preset",
            metavar="NAME",
            help="A preset (ndpsim list dram), ORGANISATION/TIMING as Ramulator names them, or a "
            "family such as DDR5, which means its last preset.",
        ),
    ],
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern", metavar="PATTERN", help="seq, rand, stride:7, ms:4:1:1, ...; default seq."
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="FILE", help="Lines 'R address' instead of a pattern."),
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="Bytes that a pattern moves.")
    ] = "1 MiB",
    seed: Annotated[int, typer.Option("--seed", help="Of random patterns.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a value, e.g. mapper=MOP4CLXOR, controller.refresh=none, timing.nRC=80.",
        ),
    ] = None,
    commands: Annotated[
        str | None,
        typer.Option("--commands", metavar="FILE", help="Write every command to this CSV file."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Serve requests through one channel and show what limited them."""
    from ndpsim.cli.output import print_json
    from ndpsim.dram import resolve
    from ndpsim.dram.patterns import generate
    from ndpsim.dram.report import simulate_requests, timing_warnings, write_commands
    from ndpsim.dram.tracefile import read_requests
    from ndpsim.errors import ConfigError, InputError
    from ndpsim.units import ceil_div, parse_quantity

    if trace is not None and pattern is not None:
        raise ConfigError("dram run", "--trace and --pattern exclude each other")
    name, part = _part(standard, overrides or [])
    device = resolve(part)
    if trace is not None:
        requests = read_requests(Path(trace), device)
    else:
        try:
            n_bytes = parse_quantity(size, "size")
        except ValueError as error:
            raise ConfigError("--size", str(error)) from None
        if n_bytes <= 0:
            raise ConfigError("--size", f"expected more than zero, got '{size}'")
        requests = generate(
            pattern or "seq", ceil_div(n_bytes, part.transaction_bytes), device, seed
        )
    for warning in timing_warnings(part):
        print(f"warning: {name}: {warning}", file=sys.stderr)
    report = simulate_requests(part, requests, full_log=commands is not None)
    if commands is not None:
        try:
            write_commands(Path(commands), part, report.run.log)
        except OSError as error:
            raise InputError(commands, f"cannot be written: {error.strerror}") from None
    if as_json:
        print_json({"preset": name, **report.document()})
    else:
        _show(name, report)


def _part(standard: str, overrides: list[str]):  # type: ignore[no-untyped-def]
    """The preset that a name means, with differences."""
    from ndpsim.dram import DramSpec, preset_of
    from ndpsim.errors import unknown
    from ndpsim.spec import load_preset, preset_names, resolve

    names = preset_names("dram")
    name = standard.lower().replace("_", "-")
    organisation, slash, timing = standard.partition("/")
    if slash:
        name = preset_of(organisation, timing)
    if name not in names:
        family = [
            known
            for known in names
            if load_preset("dram", known, DramSpec).standard.family.lower() == name
        ]
        if not family:
            raise unknown("--standard", "dram preset", standard, names)
        name = family[-1]
    return name, resolve(DramSpec, {"preset": name}, overrides).spec


def _show(name: str, report: "Report") -> None:
    from ndpsim.report.figures import quantity

    document = report.document()
    run = report.run
    joules = document["energy_j"]
    parts = ", ".join(f"{key} {quantity(energy, 'J')}" for key, energy in joules.items())
    print(f"{name}: {document['requests']} requests, {quantity(document['bytes'], 'B')}")
    print(
        f"time        {quantity(document['duration_s'], 's')} ({run.cycles} ticks)\n"
        f"bandwidth   {document['bandwidth_bytes_per_s'] / 1e9:.3f} GB/s, "
        f"{document['peak_frac']:.1%} of {document['peak_bytes_per_s'] / 1e9:.3f} GB/s\n"
        f"rows        {run.row_hits} hits, {run.row_misses} misses, "
        f"{run.row_conflicts} conflicts\n"
        f"refreshes   {document['refreshes']}\n"
        f"commands    {', '.join(f'{key} {count}' for key, count in run.counts.items())}\n"
        f"energy      {quantity(sum(joules.values()), 'J')}: {parts}"
    )
    print("limited by")
    for limit in report.limits[:6]:
        print(f"  {limit.frac:6.1%}  {limit.what}")
