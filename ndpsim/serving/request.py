"""A request becomes one prefill step and a decode step per further token."""

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.policy import Phase
from ndpsim.spec.model import Count, Spec
from ndpsim.system import Session, StepResult
from ndpsim.workload import Step

STEPS_PER_FOLD = 1024
"""Settled decode steps keyed at once; bounds memory, not results."""


class WorkloadSpec(Spec):
    """One request: a batch of sequences of equal length in lock step."""

    prompt_tokens: Count
    """Tokens of the prompt, P."""
    output_tokens: Count
    """Tokens to generate, O; the first comes from prefill."""
    batch: Annotated[int, Field(gt=0)] = 1
    """Sequences in the batch."""

    @property
    def n_positions(self) -> int:
        """Positions a sequence feeds: P + O - 1 (the last token is never fed)."""
        return self.prompt_tokens + self.output_tokens - 1


def steps(workload: WorkloadSpec) -> Iterator[tuple[Phase, Step, slice]]:
    """(phase, step, positions fed): prefill [0, P), then decode step j feeds position P + j - 1."""
    batch, prompt = workload.batch, workload.prompt_tokens
    yield "prefill", Step(batch, prompt, prompt), slice(0, prompt)
    for position in range(prompt, workload.n_positions):
        yield "decode", Step(batch, 1, position + 1), slice(position, position + 1)


def serve(
    session: Session,
    workload: WorkloadSpec,
    routed: NDArray[np.int16],
    progress: Callable[[int, int], None] | None = None,
) -> list[StepResult]:
    """Run all steps of a request.

    Parameters
    ----------
    routed
        Expert ids, (batch, P + O - 1, n_moe_layers, top_k).
    progress
        Told (steps done, steps in all) after each step.
    """
    results: list[StepResult] = []
    ahead = list(steps(workload))
    foldable = workload.batch == 1 and int(routed.min()) >= 0
    while ahead:
        if foldable and ahead[0][0] == "decode" and session.settled:
            many = ahead[:STEPS_PER_FOLD]
            fed = routed[0, many[0][2].start : many[-1][2].stop]
            results += session.fold([step for _, step, _ in many], fed)
        else:
            many = ahead[:1]
            phase, step, positions = many[0]
            fed = routed[:, positions].reshape(step.n_tokens, *routed.shape[2:])
            results.append(session.step(phase, step, fed))
        del ahead[: len(many)]
        if progress:
            progress(len(results), workload.output_tokens)
    return results
