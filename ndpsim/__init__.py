"""Cycle-level simulator of GPUs with near-data-processing memory running MoE inference.

Everything heavy loads on first use of a name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ndpsim.experiment.files import load_run as load_run
    from ndpsim.experiment.result import RunResult as RunResult
    from ndpsim.experiment.run import run as run
    from ndpsim.registry import register as register
    from ndpsim.study.compare import Comparison as Comparison
    from ndpsim.study.compare import compare as compare
    from ndpsim.study.sweep import load_sweep as load_sweep
    from ndpsim.study.sweep import sweep as sweep
    from ndpsim.workload import read_trace as load_trace

    __version__: str

_PUBLIC: Final = {
    "Comparison": ("ndpsim.study", "Comparison"),
    "RunResult": ("ndpsim.experiment.result", "RunResult"),
    "compare": ("ndpsim.study", "compare"),
    "load_run": ("ndpsim.experiment.files", "load_run"),
    "load_sweep": ("ndpsim.study.sweep", "load_sweep"),
    "load_trace": ("ndpsim.workload", "read_trace"),
    "register": ("ndpsim.registry", "register"),
    "run": ("ndpsim.experiment.run", "run"),
    "sweep": ("ndpsim.study.sweep", "sweep"),
}
"""Public name -> the module that holds it, and its name there."""

__all__ = [
    "Comparison",
    "RunResult",
    "__version__",
    "compare",
    "load_run",
    "load_sweep",
    "load_trace",
    "register",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("ndpsim")
    elif name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module 'ndpsim' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
