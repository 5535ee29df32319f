"""Units and channels that a machine cannot tell apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.experiment import RunSpec, build_machine
from ndpsim.memo import Memo
from ndpsim.policy import Slot
from ndpsim.spec import resolve
from ndpsim.system import Machine, Situation, simulate
from ndpsim.system.symmetry import Symmetry, rename
from ndpsim.testing.configs import tiny_config


def machine_of(scheduler: str, **changes: object) -> tuple[Machine, RunSpec]:
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    spec = resolve(RunSpec, tiny_config(scheduler=scheduler), overrides).spec
    return build_machine(spec, spec.model_spec())[0], spec


@pytest.fixture(scope="module")
def four_units() -> tuple[Machine, RunSpec]:
    return machine_of("expert-parallel")


actives = st.lists(
    st.tuples(st.integers(0, 3), st.just(False), st.integers(1, 3)), min_size=1, max_size=8
).map(lambda rows: [(*row, expert) for expert, row in enumerate(rows)])


@given(active=actives, swaps=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_exchanging_alike_units_changes_no_canonical_stage(
    four_units: tuple[Machine, RunSpec],
    active: list[tuple[int, bool, int, int]],
    swaps: tuple[bool, bool, bool],
) -> None:
    symmetry = Symmetry(four_units[0])
    left, right, channels = swaps
    exchange = {0: left ^ 0, 1: left ^ 1, 2: 2 + (right ^ 0), 3: 2 + (right ^ 1)}
    if channels:
        exchange = {unit: (to + 2) % 4 for unit, to in exchange.items()}
    moved = [(exchange[home], *rest) for home, *rest in active]
    ours, names = symmetry.canonical(active)
    theirs, moved_names = symmetry.canonical(moved)  # type: ignore[arg-type]
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    work = {unit: sorted(r[1:3] for r in active if r[0] == unit) for unit in range(4)}
    for place in range(4):
        unit, other = (int(rename(f"ndp{place}", n)[3:]) for n in (names, moved_names))
        assert work[unit] == sorted(r[1:3] for r in moved if r[0] == other)


@given(active=actives, phase=st.integers(0, 7))
def test_a_canonical_stage_renamed_is_the_stage_itself(
    four_units: tuple[Machine, RunSpec], active: list[tuple[int, bool, int, int]], phase: int
) -> None:
    machine, spec = four_units
    canonical, renaming = Symmetry(machine).canonical(active)

    def outcome_of(rows: list[tuple[int, bool, int, int]]):
        slots = tuple(Slot(*row[:3]) for row in sorted(rows))
        stage = Situation("experts", "decode", 3, (), slots, (), phase)
        return simulate(Memo(), machine, spec.scheduler.dispatch, stage)

    named, plain = outcome_of(canonical), outcome_of(active)
    assert named.duration_ps == plain.duration_ps
    for field in ("n_bytes", "flop", "commands", "busy_ps"):
        renamed = sorted((rename(name, renaming), n) for name, n in getattr(named, field))
        assert renamed == list(getattr(plain, field))


def test_units_on_channels_of_unequal_length_are_told_apart() -> None:
    machine, _ = machine_of("expert-parallel", system__ndp__count=5)
    canonical, renaming = Symmetry(machine).canonical([(4, False, 1, 0)])
    assert canonical[0][0] in (3, 4), "the short channel keeps its place"
    assert rename("channel0", renaming) == "channel0"


def test_cut_experts_have_no_symmetry() -> None:
    machine, _ = machine_of("tensor-parallel")
    assert Symmetry(machine).canonical([(0, False, 1, 5)]) == ([(0, False, 1, 5)], {})


@pytest.mark.parametrize(
    ("name", "renamed"),
    [("ndp0", "ndp1"), ("ndp0.ranks", "ndp1.ranks"), ("ndp0.RD", "ndp1.RD"), ("gpu", "gpu")],
)
def test_units_their_ranks_and_their_commands_are_renamed(name: str, renamed: str) -> None:
    assert rename(name, {"ndp0": "ndp1", "ndp0.ranks": "ndp1.ranks"}) == renamed
