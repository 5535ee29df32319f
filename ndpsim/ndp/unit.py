"""How long an NDP unit computes expert slices: a tiled pipeline fed by a DRAM stream."""

from collections.abc import Sequence
from dataclasses import dataclass

from ndpsim.dram import DramSpec, Stream, peak_bytes_per_s, stream_marks
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo, NoMemo
from ndpsim.ndp.spec import N_TILE_BUFFERS, NdpSpec
from ndpsim.units import ceil_div, ps_from_cycles
from ndpsim.workload.operators import Format


@dataclass(frozen=True, slots=True)
class ExpertSlice:
    """`columns` of one expert's inner dimension, with the tokens it must compute.

    Of its `n_matrices` matrices (columns x d_model each) the last is the down projection.
    """

    n_tokens: int
    columns: int
    d_model: int
    n_matrices: int
    weight: Format

    @property
    def n_weights(self) -> int:
        """Weights of the slice's matrices."""
        return self.n_matrices * self.columns * self.d_model

    @property
    def weight_bytes(self) -> int:
        """Bytes of the slice's weights; group scales round up per matrix."""
        return self.n_matrices * self.weight.bytes_for(self.columns * self.d_model)

    @property
    def flop(self) -> int:
        """2 FLOP per weight and token."""
        return 2 * self.n_weights * self.n_tokens


@dataclass(frozen=True, slots=True)
class Execution:
    """What computing a list of slices took and moved."""

    duration_ps: int
    n_bytes: int
    flop: int
    commands: tuple[tuple[str, int], ...]
    """DRAM commands of all memory, by name."""


def execute(
    memo: Memo, ndp: NdpSpec, slices: tuple[ExpertSlice, ...], refresh_offset_ps: int
) -> Execution:
    """Run slices back to back on one unit, `refresh_offset_ps` after any of its refreshes.

    Weights stream without pause while the buffer has room. Tile i computes when its weights have
    arrived and tile i-1 is done; its load waits until tile i-2 is done (double buffering). The down
    product of a slice waits for its activation function. When computing stalls the stream, later
    loads shift by the stall; refreshes keep their place in the stream.
    """
    n_streams = ndp.streams
    marks: list[int] = []
    compute_ps: list[int] = []
    read = 0
    for piece in slices:
        for end, tile_ps in memo(tiles, ndp, piece):
            marks.append(ceil_div(read + end, n_streams))
            compute_ps.append(tile_ps)
        read += piece.weight_bytes
    offset_ps = refresh_offset_ps % refresh_interval_ps(ndp)
    stream = Stream(n_bytes=ceil_div(read, n_streams), refresh_offset_ps=offset_ps)
    arrivals = memo(stream_marks, memo(lane, ndp), stream, tuple(marks))
    return Execution(
        duration_ps=pipeline_ps(arrivals.marks_ps, compute_ps)
        + ps_from_cycles(ndp.pipeline_cycles, ndp.clock),
        n_bytes=read,
        flop=sum(piece.flop for piece in slices),
        commands=tuple((name, n * _copies(ndp, name)) for name, n in arrivals.commands),
    )


def lane(memo: Memo, ndp: NdpSpec) -> DramSpec:
    """The memory of one lane: `dram` with a single object at the unit's level and above."""
    del memo  # the narrowed spec itself is what is remembered
    if ndp.level == "channel":
        return ndp.dram
    levels = ndp.dram.standard.levels
    above = levels[1 : levels.index(ndp.level) + 1]
    organisation = ndp.dram.organisation
    counts = organisation.counts | dict.fromkeys(above, 1)
    narrow = organisation.model_copy(update={"counts": counts})
    return ndp.dram.model_copy(update={"organisation": narrow, "mapper": "streaming"})


def _copies(ndp: NdpSpec, command: str) -> int:
    """How often a command of one lane is sent: once per lane, or per object that lanes share."""
    levels = ndp.dram.standard.levels
    scope = next(c.scope for c in ndp.dram.standard.commands if c.name == command)
    if levels.index(scope) < levels.index(ndp.level):
        return ndp.ranks * ndp.objects(scope)
    return ndp.streams


def tiles(memo: Memo, ndp: NdpSpec, piece: ExpertSlice) -> tuple[tuple[int, int], ...]:
    """(weight bytes up to and with the tile, picoseconds to compute it), in order."""
    del memo  # nothing below is worth remembering
    macs = mac_rate(ndp, piece.weight)
    per_tile = ndp.tile * 8 // piece.weight.bits
    before_down = piece.n_weights - piece.columns * piece.d_model
    cut = []
    for start in range(0, piece.n_weights, per_tile):
        end = min(start + per_tile, piece.n_weights)
        cycles = ceil_div((end - start) * piece.n_tokens, macs)
        if start <= before_down < end:
            activations = ceil_div(piece.columns * piece.n_tokens, ndp.activation_lanes)
            cycles += ndp.pipeline_cycles + activations
        if end == piece.n_weights and ndp.reduction_lanes is not None:
            cycles += ceil_div(piece.d_model * piece.n_tokens, ndp.reduction_lanes)
        last_byte = ceil_div(piece.weight_bytes * end, piece.n_weights)
        cut.append((last_byte, ps_from_cycles(cycles, ndp.clock)))
    return tuple(cut)


def pipeline_ps(arrivals_ps: Sequence[int], compute_ps: Sequence[int]) -> int:
    """End of the last tile of a double-buffered pipeline.

    A tile loads when the one before has arrived and a buffer is free, and computes when it has
    arrived and the one before is done.

    Parameters
    ----------
    arrivals_ps
        When each tile arrives if the stream never waits; it is shifted while buffers are full.
    compute_ps
        How long each tile computes.
    """
    done_ps = [0] * N_TILE_BUFFERS
    """When the tiles that held the buffers before were done, oldest first."""
    stall_ps = 0
    for begin_ps, arrival_ps, duration_ps in zip(
        (0, *arrivals_ps), arrivals_ps, compute_ps, strict=False
    ):
        stall_ps = max(stall_ps, done_ps[0] - begin_ps)
        done_ps = [*done_ps[1:], max(done_ps[-1], arrival_ps + stall_ps) + duration_ps]
    return done_ps[-1]


def mac_rate(ndp: NdpSpec, weight: Format) -> int:
    """MACs per cycle for weights of a format."""
    try:
        return ndp.macs_per_cycle[weight.name]
    except KeyError:
        known = ", ".join(sorted(ndp.macs_per_cycle))
        raise ConfigError("ndp", f"no MAC rate for format '{weight.name}'; has: {known}") from None


def refresh_interval_ps(ndp: NdpSpec) -> int:
    """Time between two refreshes that a rank is due."""
    return ps_from_cycles(ndp.dram.cycles()["nREFI"], ndp.dram.clock)


def memory_bytes_per_s(ndp: NdpSpec) -> int:
    """The most the unit can read from the lanes that stream at once."""
    return ndp.streams * peak_bytes_per_s(lane(NoMemo(), ndp))


def flop_per_s(ndp: NdpSpec, weight: Format) -> int:
    """The most the unit can compute."""
    return 2 * mac_rate(ndp, weight) * ndp.clock
