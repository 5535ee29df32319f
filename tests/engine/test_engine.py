"""Stories of tasks, flows and occupations, each told by one literal log."""

import pytest

from ndpsim.engine import Engine, Record
from ndpsim.errors import Deadlock

GB = 10**9
"""Bytes per second at which a byte takes 1000 ps."""


@pytest.fixture
def log():
    return []


@pytest.fixture
def engine(log):
    """Links of 1 and 2 GB/s and a unit's memory of 4 GB/s; the log gets (name, start, end)."""
    capacity = {"slow": GB, "fast": 2 * GB, "ranks": 4 * GB}
    return Engine(capacity, probe=lambda r: log.append((r.name, r.start_ps, r.end_ps)))


def test_a_task_waits_for_its_predecessors_and_for_its_resource(engine, log):
    first = engine.task("first", "gpu", 10)
    engine.task("second", "gpu", 5)
    third = engine.task("third", "cpu", 7, [first])
    engine.run(engine.task("last", "gpu", 1, [third]))
    assert log == [("first", 0, 10), ("second", 10, 15), ("third", 10, 17), ("last", 17, 18)]


def test_tasks_are_served_in_order_of_readiness_and_ties_in_order_of_creation(engine, log):
    late = engine.delay("late", 3)
    jobs = [engine.task("b", "gpu", 10, [late]), *(engine.task(n, "gpu", 10) for n in "acd")]
    engine.run(engine.delay("all", 0, jobs))
    assert log == [("a", 0, 10), ("c", 10, 20), ("d", 20, 30), ("b", 30, 40)]


def test_steps_of_a_sequence_run_back_to_back(engine, log):
    sequence = engine.sequence("layer", "gpu", [("norm", 2), ("projection", 5)])
    engine.task("other", "gpu", 1)
    assert engine.run(sequence) == 7
    assert log == [("norm", 0, 2), ("projection", 2, 7)]


def test_an_empty_sequence_ends_at_once(engine):
    assert engine.run(engine.sequence("nothing", "gpu", [])) == 0


def test_a_flow_takes_its_latency_and_then_its_bytes_over_the_slowest_link(engine, log):
    engine.run(engine.flow("copy", ("fast", "slow"), 3, latency_ps=500))
    assert log == [("copy", 500, 3500)]
    assert engine.busy_ps() == {"fast": 3000, "slow": 3000}
    assert engine.bytes_moved() == {"fast": 3, "slow": 3}


def test_an_empty_flow_takes_its_latency_only(engine):
    assert engine.run(engine.flow("copy", ("slow",), 0, latency_ps=500)) == 500
    assert engine.bytes_moved() == {}


def test_two_flows_share_a_link_and_the_longer_one_speeds_up(engine, log):
    short = engine.flow("short", ("slow",), 2)
    engine.run(engine.flow("long", ("slow",), 5))
    assert log == [("short", 0, 4000), ("long", 0, 7000)]
    assert short.end_ps == 4000
    assert engine.busy_ps() == {"slow": 7000}


def test_demand_stops_a_prefetch_and_the_prefetch_goes_on_where_it_was(engine, log):
    engine.flow("demand", ("slow",), 2, after=[engine.delay("later", 1000)])
    engine.run(engine.flow("prefetch", ("slow",), 3, priority=1))
    assert log == [("demand", 1000, 3000), ("prefetch", 0, 5000)]


def test_flows_that_start_and_end_at_one_instant_are_shared_once(engine, log):
    copies = [engine.flow(name, ("slow",), 2) for name in "ab"]
    copies.append(engine.flow("c", ("slow",), 2, after=copies))
    engine.run(engine.delay("all", 0, copies))
    assert log == [("a", 0, 4000), ("b", 0, 4000), ("c", 4000, 6000)]


def test_an_occupation_gives_a_copy_its_share_of_the_ranks(engine, log):
    engine.flow("copy", ("fast", "ranks"), 2)
    engine.run(engine.occupy("experts", "ranks", lambda start_ps: 1000, priority=1))
    assert log == [("copy", 0, 1000), ("experts", 0, 1500)]
    assert engine.bytes_moved() == {"fast": 2, "ranks": 2}


def test_an_occupation_stands_still_while_exclusive_ranks_are_copied(log):
    probe = lambda r: log.append((r.name, r.start_ps, r.end_ps))  # noqa: E731
    engine = Engine({"fast": 2 * GB, "ranks": 4 * GB}, frozenset({"ranks"}), probe)
    engine.flow("copy", ("fast", "ranks"), 2, after=[engine.delay("later", 300)])
    engine.run(engine.occupy("experts", "ranks", lambda start_ps: 1000, priority=1))
    assert log == [("copy", 300, 1300), ("experts", 0, 2000)]


def test_the_length_of_an_occupation_may_depend_on_its_start(engine):
    later = engine.delay("later", 300)
    assert engine.run(
        engine.occupy("e", "ranks", lambda start_ps: 2 * start_ps, after=[later])
    ) == (900)


def test_a_run_ends_with_its_last_job_and_what_is_left_can_be_counted(engine):
    prefetch = engine.flow("prefetch", ("slow",), 10)
    late = engine.flow("late", ("fast",), 7, latency_ps=10**6)
    engine.run(engine.task("last", "gpu", 3500))
    for _ in range(2):
        assert engine.flows_left() == {prefetch: 7, late: 7}
        assert engine.bytes_moved() == {"slow": 3}
        assert engine.busy_ps() == {"gpu": 3500, "slow": 3500}


def test_what_ends_at_the_last_instant_has_ended(engine):
    last = engine.task("last", "gpu", 3000)
    copy = engine.flow("copy", ("slow",), 3)
    assert engine.run(last) == 3000
    assert copy.end_ps == 3000
    assert engine.flows_left() == {}


def test_a_process_creates_jobs_while_others_run(engine, log):
    def queue():
        for name in "ab":
            copy = engine.flow(name, ("slow",), 1, priority=1)
            yield copy.event

    engine.call(queue())
    engine.run(engine.task("last", "gpu", 5000))
    assert log == [("a", 0, 1000), ("b", 1000, 2000), ("last", 0, 5000)]


def test_a_record_tells_resource_and_bytes():
    seen = []
    engine = Engine({"fast": 2 * GB, "slow": GB}, probe=seen.append)
    engine.run(engine.task("t", "gpu", 1, [engine.flow("copy", ("fast", "slow"), 2)]))
    assert seen == [Record("copy", "slow", 0, 2000, 2), Record("t", "gpu", 2000, 2001, 0)]


def test_a_probe_changes_nothing():
    def story(probe):
        engine = Engine({"slow": GB}, probe=probe)
        copy = engine.flow("copy", ("slow",), 5)
        last = engine.task("last", "gpu", 5, [copy])
        return engine.run(last), engine.busy_ps(), engine.bytes_moved(), engine.critical_ps(last)

    assert story(None) == story([].append)


# --- the critical path ---------------------------------------------------------------------------


def test_critical_time_is_charged_along_the_chain_of_causes(engine):
    decide = engine.delay("decide", 100)
    copy = engine.flow("copy", ("slow",), 2, latency_ps=50, after=[decide])
    engine.task("resident", "gpu", 3000, [decide])
    fetched = engine.task("fetched", "gpu", 400, [copy])
    last = engine.task("combine", "gpu", 10, [fetched])
    assert engine.run(last) == 3510
    assert engine.critical_ps(last) == {"latency": 100, "gpu": 3410}


def test_critical_time_of_a_flow_is_charged_to_what_limits_it(engine):
    """Three copies share `fast`; each alone would be limited by its own, slower link."""
    capacity = {"ch0": 1000 * GB, "ch1": 1000 * GB, "ch2": 1000 * GB, "pcie": 1500 * GB}
    engine = Engine(capacity)
    copies = [
        engine.flow("copy", (f"ch{i}", "pcie"), n, latency_ps=7)
        for i, n in enumerate((1000, 1000, 2000))
    ]
    last = engine.task("expert", "gpu", 5, copies)
    assert engine.run(last) == 7 + 2000 + 1000 + 5
    assert engine.critical_ps(last) == {"gpu": 5, "ch2": 1000, "pcie": 2000, "latency": 7}


def test_critical_time_of_a_stopped_flow_is_charged_to_where_it_was_stopped(engine):
    engine.flow("demand", ("fast",), 4)
    prefetch = engine.flow("prefetch", ("fast", "slow"), 2, priority=1)
    assert engine.run(prefetch) == 4000
    assert engine.critical_ps(prefetch) == {"fast": 2000, "slow": 2000}


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_deadlock_says_who_waits_for_what(engine):
    other = Engine({"slow": GB})
    never = other.delay("never", 1)
    last = engine.task("last", "gpu", 1, [engine.flow("copy", ("slow",), 1, after=[never])])
    with pytest.raises(Deadlock, match="'copy' waits for 'never'; 'last' waits for 'copy'"):
        engine.run(last)


def test_a_deadlock_names_a_few_of_many_jobs(engine):
    never = Engine({"slow": GB}).delay("never", 1)
    last = [engine.task(f"t{i}", "gpu", 1, [never]) for i in range(8)][-1]
    with pytest.raises(Deadlock, match=r"'t4' waits for 'never'; 3 more$"):
        engine.run(last)


def test_more_flows_than_bytes_per_second_deadlock_aloud():
    engine = Engine({"thin": 2})
    copies = [engine.flow("copy", ("thin",), 1) for _ in range(3)]
    with pytest.raises(Deadlock, match="'copy' waits for thin"):
        engine.run(copies[0])


def test_an_error_inside_a_job_is_not_taken_for_a_deadlock(engine):
    def fail(start_ps):
        raise RuntimeError("no such expert")

    with pytest.raises(RuntimeError, match="no such expert"):
        engine.run(engine.occupy("experts", "ranks", fail))


@pytest.mark.parametrize("rate", [0, -1])
def test_a_capacity_is_positive(rate):
    with pytest.raises(ValueError, match="capacity of 'slow' must be positive"):
        Engine({"slow": rate})
