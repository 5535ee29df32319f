"""Which experts the request's tokens go to: read from a trace or drawn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim.experiment.spec import RunSpec
from ndpsim.workload import ModelSpec, read_trace, select, synthesize, trace_digest


@dataclass(frozen=True)
class Routing:
    """Expert ids of a run, and where they come from."""

    experts: NDArray[np.int16]
    """(batch, P + O - 1, n_moe_layers, top_k)."""
    digest: str
    """Digest of the trace's content."""
    synthetic: bool
    """Whether any of the routing was generated."""
    n_invented: int
    """Positions that `trace.extend` made up, over the batch."""
    origin: str
    """One line for people: what model the routing was captured from, or how it was made."""


def routing_of(spec: RunSpec, model: ModelSpec) -> Routing:
    """The routing that a run replays.

    Raises
    ------
    TraceError
        The trace cannot be read, does not match the model, or is too short.
    """
    source, workload = spec.trace_spec(), spec.workload
    if source.synthetic is not None:
        trace = synthesize(
            model,
            source.synthetic,
            n_sequences=workload.batch,
            n_tokens=workload.n_positions,
            seed=spec.seed,
            prompt_tokens=workload.prompt_tokens,
        )
    else:
        assert source.path is not None
        trace = read_trace(source.path)
    selection = select(
        trace,
        model,
        batch=workload.batch,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        sequences=source.sequences,
        extend=source.extend,
        seed=spec.seed,
        where=str(source.path or "trace"),
    )
    return Routing(
        experts=selection.experts,
        digest=trace_digest(trace),
        synthetic=trace.info.synthetic or selection.n_invented > 0,
        n_invented=selection.n_invented,
        origin=trace.info.model,
    )
