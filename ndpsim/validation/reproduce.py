"""Published results of the seed paper, run again.

Every figure is a ratio of two runs of the same request on the same machine. All runs of one model
and number of NDP units form a cell; cells are independent of each other and of how many run at a
time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from ndpsim.errors import ConfigError, unknown
from ndpsim.experiment import RunSpec, build_machine, routing_of, run_resolved
from ndpsim.memo import Memo
from ndpsim.spec import Resolved, resolve
from ndpsim.spec.yaml import read_mapping
from ndpsim.system import plan_memory

NAMES: Final = ("edge-gpu-ndp",)

SCHEDULERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "monde": ("expert-parallel", {}),
    "monde-gpu": ("monde", {}),
    "tp": ("tensor-parallel", {}),
    "tp-balance": ("load-balanced", {}),
    "tp-prefetch": ("prefetch", {}),
    "all": ("edge-gpu-ndp", {}),
    "all-fit": ("edge-gpu-ndp", {"scheduler.prefetch.count": "fit"}),
    "ondemand": ("on-demand", {}),
    "ondemand-lru": ("on-demand", {"scheduler.cache": "lru"}),
    "fiddler": ("fiddler", {}),
}
"""Name in a figure -> scheduler preset and what is changed in it."""

WITHOUT_UNITS: Final = ("ondemand", "ondemand-lru", "fiddler")
"""Schedulers that do not use NDP units: run once per model."""

QWEN: Final = "qwen3-30b-a3b"

Times = Mapping[str, Mapping[str, float]]
"""Scheduler -> figure of `ndpsim run --json` -> seconds."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one number of NDP units."""

    model: str
    n_units: int
    config: tuple[tuple[str, Any], ...]
    schedulers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One published quantity beside ours; `paper` is None where nothing was published."""

    quantity: str
    paper: float | None
    ours: float | None
    mark: str

    @property
    def error_frac(self) -> float | None:
        """Signed relative error."""
        if self.paper is None or self.ours is None:
            return None
        return self.ours / self.paper - 1


@dataclass(frozen=True)
class Reproduction:
    """All figures, and the times they come from."""

    figures: tuple[Figure, ...]
    times: Mapping[tuple[str, int], Times]
    infeasible: Mapping[tuple[str, int], str]
    """(model, units) -> why it cannot be run."""


def reproduce(
    name: str,
    *,
    system: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    n_units: Sequence[int] | None = None,
    captured: Path | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Run a published evaluation again.

    Parameters
    ----------
    system
        Another machine than the paper's idealised one.
    overrides
        Changes to every run, by dotted path.
    n_units
        Numbers of NDP units instead of the published ones.
    captured
        Folder that holds `traces/`: captured routing takes the place of fitted routing, and models
        without a captured trace are left out.
    jobs
        Processes.

    Raises
    ------
    UnknownName
        No such reproduction.
    """
    if name not in NAMES:
        raise unknown("reproduce", "reproduction", name, NAMES)
    source = Path(str(files("ndpsim.validation") / "reproductions" / f"{name}.yaml"))
    plan = read_mapping(source).plain()
    plan |= {"system": system or plan["system"], "n_units": list(n_units or plan["n_units"])}
    cells, infeasible = _feasible(list(_cells(plan, overrides or {}, captured)))
    times = dict(_run(cells, jobs, progress))
    return Reproduction(tuple(_figures(plan["paper"], times)), times, infeasible)


def _cells(
    plan: Mapping[str, Any], overrides: Mapping[str, Any], captured: Path | None
) -> Iterator[Cell]:
    for model, skew in plan["models"].items():
        trace: Any = {"synthetic": skew}
        if captured is not None:
            if model not in plan["captured"]:
                continue
            trace = str(captured / plan["captured"][model])
        for n_units in plan["n_units"]:
            config = {key: plan[key] for key in ("formats", "workload", "seed", "system")}
            config |= {"model": model, "trace": trace, "system.ndp.count": n_units, **overrides}
            yield Cell(model, n_units, tuple(config.items()), tuple(SCHEDULERS))


def _feasible(cells: list[Cell]) -> tuple[list[Cell], dict[tuple[str, int], str]]:
    """Cells whose experts fit; schedulers without units only in a model's first."""
    kept, infeasible, seen = [], {}, set()
    for cell in cells:
        try:
            _resolved(cell, "monde")
        except ConfigError as error:
            infeasible[cell.model, cell.n_units] = str(error)
            continue
        names = tuple(
            s for s in cell.schedulers if cell.model not in seen or s not in WITHOUT_UNITS
        )
        seen.add(cell.model)
        kept.append(Cell(cell.model, cell.n_units, cell.config, names))
    return kept, infeasible


def _resolved(cell: Cell, scheduler: str) -> Resolved[RunSpec]:
    """A cell's configuration under a scheduler, once everything is known to fit."""
    preset, changes = SCHEDULERS[scheduler]
    config = dict(cell.config)
    top = {key: value for key, value in config.items() if "." not in key}
    below = {key: value for key, value in config.items() if "." in key}
    resolved = resolve(RunSpec, top | {"scheduler": preset}, below | changes)
    spec = resolved.spec
    machine, placement = build_machine(spec, spec.model_spec())
    request = spec.workload
    plan_memory(machine, placement, request.batch, request.prompt_tokens, request.output_tokens)
    return resolved


def run_cell(cell: Cell) -> dict[str, dict[str, float]]:
    """Times of every scheduler of a cell; they share what they remember."""
    memory, times = Memo(), {}
    first = _resolved(cell, cell.schedulers[0]).spec
    routing = routing_of(first, first.model_spec())
    for name in cell.schedulers:
        summary = run_resolved(_resolved(cell, name), memory, routing=routing).summary
        times[name] = {
            key: summary[key] for key in ("e2e_s", "decode_s", "moe_prefill_s", "moe_decode_s")
        }
    return times


def _run(
    cells: list[Cell], jobs: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[tuple[str, int], Times]]:
    keys = [(cell.model, cell.n_units) for cell in cells]
    if jobs == 1:
        results: Iterator[Times] = map(run_cell, cells)
        yield from _told(keys, results, progress)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from _told(keys, pool.map(run_cell, cells), progress)


def _told(
    keys: list[tuple[str, int]],
    results: Iterator[Times],
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[tuple[str, int], Times]]:
    for index, (key, times) in enumerate(zip(keys, results, strict=True), start=1):
        if progress:
            progress(index, len(keys))
        yield key, times


def _figures(paper: Mapping[str, Any], times: Mapping[tuple[str, int], Times]) -> Iterator[Figure]:
    """The published quantities in the readings fixed in advance, then other readings."""

    def per_model(slow: str, fast: str, figure: str = "e2e_s") -> dict[str, float]:
        """Mean speed-up of each model over its feasible numbers of units."""
        speedups: dict[str, list[float]] = {}
        for (model, _), cell in times.items():
            slow_times = cell.get(slow) or _first(times, model)[slow]
            speedups.setdefault(model, []).append(slow_times[figure] / cell[fast][figure])
        return {model: fmean(values) for model, values in speedups.items()}

    def mean(slow: str, fast: str, figure: str = "e2e_s") -> float:
        return fmean(per_model(slow, fast, figure).values())

    readings: dict[str, float | None] = {
        "e2e_vs_monde_mean": mean("monde", "all"),
        "e2e_vs_monde_max": max(per_model("monde", "all").values()),
        "e2e_vs_ondemand_max": max(per_model("ondemand", "all").values()),
        "e2e_vs_fiddler_max": max(per_model("fiddler", "all").values()),
        "ablation_tp": mean("monde", "tp"),
        "ablation_tp_balance": mean("monde", "tp-balance"),
        "ablation_tp_prefetch": mean("monde", "tp-prefetch"),
        "ablation_all": mean("monde", "all"),
        "qwen3_tp_prefill": per_model("monde", "tp", "moe_prefill_s").get(QWEN),
        "qwen3_tp_decode": per_model("monde", "tp", "moe_decode_s").get(QWEN),
    }
    for quantity, ours in readings.items():
        yield Figure(quantity, paper[quantity]["value"], ours, paper[quantity]["mark"])
    yield from _regression(times)
    for quantity, ours in {
        "e2e_vs_monde_mean_fit": mean("monde", "all-fit"),
        "e2e_vs_monde_max_fit": max(per_model("monde", "all-fit").values()),
        "e2e_vs_ondemand_max_lru": max(per_model("ondemand-lru", "all").values()),
        "ablation_tp_decode": mean("monde", "tp", "decode_s"),
        "ablation_tp_balance_decode": mean("monde", "tp-balance", "decode_s"),
        "ablation_tp_prefetch_decode": mean("monde", "tp-prefetch", "decode_s"),
        "ablation_all_decode": mean("monde", "all", "decode_s"),
        **{f"e2e_vs_monde_{m}": v for m, v in per_model("monde", "all").items()},
    }.items():
        yield Figure(quantity, None, ours, "ours only")


def _regression(times: Mapping[tuple[str, int], Times]) -> Iterator[Figure]:
    """Tensor parallel alone over GPU-assisted MoNDE at two units; published as slightly below 1."""
    for (model, n_units), cell in times.items():
        if n_units == 2:
            name = "two_dimm_regression" + ("" if model == QWEN else f"_{model}")
            for suffix, figure in (("", "e2e_s"), ("_moe_decode", "moe_decode_s")):
                ours = cell["monde-gpu"][figure] / cell["tp"][figure]
                yield Figure(name + suffix, None, ours, "2H: below 1")


def _first(times: Mapping[tuple[str, int], Times], model: str) -> Times:
    """The cell that holds a model's runs without units."""
    return next(cell for (name, _), cell in times.items() if name == model)
