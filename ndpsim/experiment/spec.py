"""One run as data: everything a result depends on."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ndpsim.policy import SchedulerSpec
from ndpsim.serving import WorkloadSpec
from ndpsim.spec.model import CountOrZero, InputPath, Spec
from ndpsim.system import SystemSpec
from ndpsim.workload import Formats, FormatSpec, ModelSpec, SyntheticSpec, read_huggingface_config


class HuggingFaceModel(Spec):
    """A model described by a Hugging Face `config.json` on disk."""

    huggingface: InputPath
    """Path of the config.json, or of the folder that holds it."""


class FormatsSpec(Spec):
    """Number formats of a run."""

    expert: FormatSpec
    """Weights of the routed experts."""
    weight: FormatSpec
    """All other weights."""
    cache: FormatSpec
    """KV cache."""
    activation: FormatSpec
    """Activations."""

    def formats(self) -> Formats:
        """The formats as a value that operators carry."""
        return Formats(
            expert=self.expert.format(),
            weight=self.weight.format(),
            cache=self.cache.format(),
            activation=self.activation.format(),
        )


class TraceSpec(Spec):
    """Where routing comes from: a trace file, or a labelled synthetic generator."""

    path: InputPath | None = None
    """A routing trace (Parquet)."""
    synthetic: SyntheticSpec | None = None
    """Statistics of synthetic routing; the run's seed decides the draw."""
    extend: Literal["synth", "loop"] | None = None
    """What continues a sequence that is too short; labelled in every result."""
    sequences: Annotated[tuple[CountOrZero, ...], Field(min_length=1)] | None = None
    """Sequences of the trace that form the batch; by default the first that are long enough."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give either 'path' or 'synthetic'")
        if self.synthetic is not None and (self.extend or self.sequences):
            raise ValueError("'extend' and 'sequences' go with 'path', not with 'synthetic'")
        return self


class RunSpec(Spec):
    """A model on a machine under a scheduler, for one request routed by a trace."""

    model: ModelSpec | HuggingFaceModel
    formats: FormatsSpec
    system: SystemSpec
    scheduler: SchedulerSpec
    trace: InputPath | TraceSpec
    workload: WorkloadSpec
    seed: CountOrZero = 0

    def model_spec(self) -> ModelSpec:
        """The model's dimensions."""
        if isinstance(self.model, ModelSpec):
            return self.model
        return read_huggingface_config(self.model.huggingface)

    def trace_spec(self) -> TraceSpec:
        """The trace's origin; a path alone stands for a file."""
        return self.trace if isinstance(self.trace, TraceSpec) else TraceSpec(path=self.trace)
