"""Optuna proposes; nothing here runs a point."""

import warnings
from collections.abc import Iterator
from typing import Any, Literal

from ndpsim.errors import InputError
from ndpsim.study.sweep.plan import Plan, Values
from ndpsim.study.sweep.space import Axis
from ndpsim.study.sweep.worker import OK, Row


class Search:
    """Generations of points; the next one depends on the rows of those before and on the seed."""

    def __init__(self, plan: Plan) -> None:
        """Raises an `InputError` if Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            raise InputError(
                f"{plan.name}: search", "needs Optuna: pip install 'ndpsim[sweep]'"
            ) from None
        assert plan.spec.search is not None
        self._plan, self._spec, self._optuna = plan, plan.spec.search, optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions: list[Literal["minimize", "maximize"]] = [
            "minimize" if goal == "min" else "maximize" for goal in plan.goals
        ]
        self._study = optuna.create_study(directions=directions, sampler=self._sampler())
        self._trials: list[Any] = []

    def generations(self) -> Iterator[list[Values]]:
        """Generations in order; `tell` the rows of each before the next is asked for."""
        for _ in range(self._spec.generations):
            self._trials = [self._study.ask() for _ in range(self._spec.population)]
            yield [self._proposed(trial) for trial in self._trials]

    def tell(self, rows: list[Row]) -> None:
        """The rows of the generation asked for last, in its order."""
        state = self._optuna.trial.TrialState
        for trial, row in zip(self._trials, rows, strict=True):
            if row["status"] != OK:
                self._study.tell(trial, state=state.FAIL)
                continue
            for index, miss in enumerate(row["misses"]):
                trial.set_constraint(str(index), miss)
            self._study.tell(trial, row["goals"])

    def _sampler(self) -> Any:
        samplers, seed = self._optuna.samplers, self._spec.seed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            if self._spec.sampler == "nsga2":
                return samplers.NSGAIISampler(population_size=self._spec.population, seed=seed)
            if self._spec.sampler == "tpe":
                return samplers.TPESampler(seed=seed, n_startup_trials=self._spec.population)
            return samplers.RandomSampler(seed=seed)

    def _proposed(self, trial: Any) -> Values:
        return {path: _suggested(trial, path, axis) for path, axis in self._plan.axes.items()}


def _suggested(trial: Any, path: str, axis: Axis) -> Any:
    if axis.choices:
        index = trial.suggest_categorical(path, list(range(len(axis.choices))))
        return axis.choices[index]
    if axis.whole:
        step = int(axis.step or 1)
        return trial.suggest_int(path, int(axis.low), int(axis.high), step=step, log=axis.log)
    return axis.shown(trial.suggest_float(path, axis.low, axis.high, step=axis.step, log=axis.log))
