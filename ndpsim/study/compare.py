"""One configuration under several schedulers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ndpsim.errors import ConfigError, InputError, unknown
from ndpsim.experiment.files import COMPARISON, staged, write_json, write_run
from ndpsim.experiment.result import RunResult
from ndpsim.experiment.routing import Routing, routing_of
from ndpsim.experiment.run import Overrides, Source, build_machine, run_resolved
from ndpsim.experiment.spec import RunSpec
from ndpsim.memo import Memo
from ndpsim.spec import Resolved, preset_names, resolve
from ndpsim.system import plan_memory

if TYPE_CHECKING:
    import pandas as pd

ALL: Final = "all"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A scheduler that this machine and trace cannot serve."""

    scheduler: str
    reason: str


@dataclass(frozen=True)
class Comparison(Sequence[RunResult]):
    """Runs that differ in their scheduler only, in the order asked for."""

    runs: tuple[RunResult, ...]
    skipped: tuple[Skipped, ...]
    baseline: str
    """Scheduler that speed-ups refer to: the first one named, or the slowest of all."""

    @property
    def frame(self) -> "pd.DataFrame":
        """One row per scheduler: the figures of its summary, nested ones as ``name.key``."""
        import pandas as pd  # 0.4 s to import

        return pd.json_normalize([run.summary for run in self.runs])

    def __getitem__(self, index: Any) -> Any:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunResult]:
        return iter(self.runs)


def compare(
    config: Source,
    schedulers: str | Sequence[str] = ALL,
    set: Overrides = (),
    *,
    progress: Progress | None = None,
) -> Comparison:
    """Run a configuration under several named schedulers.

    Parameters
    ----------
    schedulers
        Names of scheduler presets, or ``all``: every one that this machine and trace can serve.
    set
        Overrides as for `run`; they apply after the scheduler is chosen.
    progress
        Told (scheduler, steps done, steps in all).

    Raises
    ------
    InputError
        The configuration cannot be used, or a scheduler named cannot be served.
    """
    wanted = _wanted(schedulers)
    ready, skipped, shared = [], [], _SharedRouting()
    for name in wanted or preset_names("scheduler"):
        try:
            ready.append((name, _prepared(config, set, name, shared)))
        except InputError as error:
            if wanted:
                raise _named(name, error) from error
            skipped.append((name, error))
    if not ready:
        raise skipped[0][1]
    memory = Memo()
    runs = tuple(
        run_resolved(
            resolved,
            memory,
            routing=shared.of(resolved.spec),
            progress=partial(progress, name) if progress else None,
        )
        for name, resolved in ready
    )
    slowest = max(runs, key=lambda run: run.summary["e2e_s"])
    return Comparison(
        runs=runs,
        skipped=tuple(Skipped(name, str(error)) for name, error in skipped),
        baseline=(runs[0] if wanted else slowest).summary["scheduler"],
    )


def save_comparison(comparison: Comparison, folder: Path | str) -> Path:
    """Write one results folder per scheduler, and `compare.json`, into a folder.

    Raises
    ------
    InputError
        The folder holds something else, or cannot be written.
    """
    with staged(folder) as stage:
        for run in comparison:
            inner = stage / run.summary["scheduler"]
            inner.mkdir()
            write_run(run, inner)
        document = {
            "schema": comparison[0].summary["schema"],
            "baseline": comparison.baseline,
            "skipped": {item.scheduler: item.reason for item in comparison.skipped},
            "summaries": [run.summary for run in comparison],
        }
        write_json(stage / COMPARISON, document)
    return Path(folder)


def _wanted(schedulers: str | Sequence[str]) -> list[str]:
    """The names asked for; none for all."""
    names = schedulers.split(",") if isinstance(schedulers, str) else list(schedulers)
    names = list(dict.fromkeys(name.strip() for name in names))
    if names == [ALL]:
        return []
    known = preset_names("scheduler")
    for name in names:
        if name not in known:
            raise unknown("schedulers", "scheduler", name, [*known, ALL])
    return names


class _SharedRouting:
    """The routing that all schedulers of a comparison replay, read once."""

    def __init__(self) -> None:
        self._routing: Routing | None = None

    def of(self, spec: RunSpec) -> Routing:
        """The routing; all specs differ in their scheduler only."""
        self._routing = self._routing or routing_of(spec, spec.model_spec())
        return self._routing


def _prepared(
    config: Source, overrides: Overrides, scheduler: str, shared: _SharedRouting
) -> Resolved[RunSpec]:
    """The configuration under a scheduler, once machine and trace are known to serve it."""
    resolved = resolve(RunSpec, config, _chosen(scheduler, overrides))
    spec = resolved.spec
    if spec.scheduler.name != scheduler:
        raise ConfigError("scheduler", "is what a comparison varies; do not set it or its name")
    shared.of(spec).check(spec.scheduler)
    knowledge = shared.of(spec).calibration(spec.scheduler)
    machine, placement = build_machine(spec, spec.model_spec(), knowledge)
    workload = spec.workload
    plan_memory(machine, placement, workload.batch, workload.prompt_tokens, workload.output_tokens)
    return resolved


def _chosen(scheduler: str, overrides: Overrides) -> Overrides:
    if isinstance(overrides, Mapping):
        return {"scheduler": scheduler, **overrides}
    return [f"scheduler={scheduler}", *overrides]


def _named(name: str, error: InputError) -> InputError:
    """The same error, saying which scheduler cannot be served."""
    return InputError(*error.args[:-1], f"{error.args[-1]} (under scheduler '{name}')")
