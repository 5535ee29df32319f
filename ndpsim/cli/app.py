"""The commands. Nothing heavy is imported before one runs: `ndpsim --help` answers at once."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from ndpsim.cli.dram import dram_app
from ndpsim.cli.explain import explain
from ndpsim.cli.reproduce import reproduce
from ndpsim.cli.validate import validate_app
from ndpsim.errors import InputError, NdpsimError

OK, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

_HELP = "Simulate GPUs with near-data-processing memory running Mixture-of-Experts inference."

app = typer.Typer(name="ndpsim", help=_HELP, rich_markup_mode=None, pretty_exceptions_enable=False)
trace_app = typer.Typer(help="Routing traces.", rich_markup_mode=None)
app.add_typer(trace_app, name="trace")
app.add_typer(validate_app, name="validate")
app.add_typer(dram_app, name="dram")
app.command()(explain)
app.command()(reproduce)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML configuration.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. workload.batch=4."),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="DIR", help="Write results to this folder."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 ok, 1 simulation failed, 2 bad input or usage."""
    given = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in given
    sys.exit(_guarded([arg for arg in given if arg != "--debug"], debug))


def _guarded(args: list[str], debug: bool) -> int:
    """Run a command; every failure becomes one line on stderr and an exit code."""
    try:
        code = app(args, prog_name="ndpsim", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as end:  # how typer and rich turn a broken pipe into an exit code
        if isinstance(end.__context__, BrokenPipeError):
            return _reader_gone()
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explained(error)
    if code == INTERRUPTED:  # typer has turned the interrupt into its exit code
        return _fail("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else OK


def _reader_gone() -> int:
    """Nobody reads stdout any more; Python's own flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return BROKEN_PIPE


def _explained(error: Exception) -> int:
    if isinstance(error, NdpsimError):
        return _fail(str(error), BAD_INPUT if isinstance(error, InputError) else FAILED)
    if hasattr(error, "format_message"):  # a usage error of typer, whose class is not public
        return _fail(f"{error.format_message().rstrip('.')}; see 'ndpsim --help'", BAD_INPUT)
    if isinstance(error, OSError):  # files of ours are reported by name; what is left is stdout
        return _fail(f"{error.filename or 'standard output'}: {error.strerror or error}", FAILED)
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return _fail(f"internal: {what} (a bug in ndpsim; --debug shows where)", FAILED)


def _fail(what: str, code: int) -> int:
    line = "".join(c if c.isprintable() else "?" for c in " ".join(what.split()))
    print(f"error: {line}", file=sys.stderr)
    return code


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[  # `main` takes it from anywhere; it is here to be listed
        bool, typer.Option("--debug", help="Show a traceback with an error; anywhere.")
    ] = False,
) -> None:
    if version:
        import ndpsim

        print(f"ndpsim {ndpsim.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(BAD_INPUT)


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    output: Output = None,
    as_json: Json = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Check that no work or bytes were lost or done twice.")
    ] = False,
    no_memo: Annotated[
        bool, typer.Option("--no-memo", help="Simulate equal situations again every time.")
    ] = False,
) -> None:
    """Simulate one run and show what it took and what limited it."""
    from ndpsim.cli import commands

    commands.run(config, overrides or [], output, as_json, audit=audit, memo=not no_memo)


@app.command()
def compare(
    config: Config,
    schedulers: Annotated[
        str,
        typer.Option("--schedulers", metavar="NAMES", help="Names with commas between, or 'all'."),
    ],
    overrides: Overrides = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Simulate the same configuration under several schedulers."""
    from ndpsim.cli import commands

    commands.compare(config, schedulers, overrides or [], output, as_json)


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file of a sweep.")],
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", help="Processes; by default one per core."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="ADDRESS", help="A Dask scheduler to use instead."),
    ] = None,
    overrides: Overrides = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder of the results; a sweep goes on there."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the points, time one, and run no more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Simulate many points of a design space, on all cores or a cluster."""
    from ndpsim.cli import sweeps

    sweeps.sweep(config, overrides or [], output, as_json, jobs, cluster, dry_run=dry_run)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="E.g. model, system, dispatch.")],
    as_json: Json = False,
) -> None:
    """Name the presets or policies of a kind."""
    from ndpsim.cli import catalog

    catalog.show_kind(kind, as_json)


@app.command()
def show(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="E.g. model, system, dispatch.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `ndpsim list KIND` names it.")],
    as_json: Json = False,
) -> None:
    """Show every value of a preset or policy and where it came from."""
    from ndpsim.cli import catalog

    catalog.show_item(kind, name, as_json)


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration, for editors."""
    from ndpsim.cli import commands

    commands.schema()


@trace_app.command("stats")
def trace_stats(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A routing trace (Parquet).")],
    as_json: Json = False,
) -> None:
    """Describe a trace: skew, distinct experts, reuse between tokens, by layer."""
    from ndpsim.cli import commands

    commands.trace_stats(file, as_json)


@app.command()
def bench(
    as_json: Json = False,
    compare_with: Annotated[
        str | None,
        typer.Option("--compare", metavar="REV", help="Measure a Git revision as well."),
    ] = None,
    scaling: Annotated[
        str | None,
        typer.Option("--scaling", metavar="FILE", help="Write how costs grow, as Markdown."),
    ] = None,
) -> None:
    """Measure how fast ndpsim is on this machine."""
    from ndpsim.cli import benches

    benches.bench(as_json, compare_with, scaling)
