import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.memo import Memo, NoMemo

calls: list[int] = []


def square(memo, n):
    calls.append(n)
    return n * n


def fibonacci(memo, n):
    return n if n < 2 else memo(fibonacci, n - 1) + memo(fibonacci, n - 2)


def absent(memo, n):
    calls.append(n)


def failing(memo, n):
    raise KeyError(n)


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


def test_a_result_is_computed_once():
    memo = Memo()
    assert [memo(square, n) for n in (3, 4, 3, 3)] == [9, 16, 9, 9]
    assert calls == [3, 4]
    assert memo.stats() == {f"{__name__}.square": {"calls": 4, "computed": 2, "distinct": 2}}


def test_none_is_remembered_too():
    memo = Memo()
    assert memo(absent, 1) is memo(absent, 1) is None
    assert calls == [1]


def test_a_failure_is_not_remembered_and_keeps_its_cause():
    memo = Memo()
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            memo(failing, 1)
        assert caught.value.__context__ is None
    assert memo.stats()[f"{__name__}.failing"] == {"calls": 2, "computed": 2, "distinct": 0}


def test_functions_with_one_name_do_not_share_results():
    def adder(k):
        def add(memo, n):
            return n + k

        return add

    memo = Memo()
    one, two = adder(1), adder(2)
    assert (memo(one, 1), memo(two, 1)) == (2, 3)
    assert memo.stats()[f"{__name__}.{one.__qualname__}"] == {
        "calls": 2,
        "computed": 2,
        "distinct": 2,
    }


def test_keyword_arguments_are_refused():
    for memo in (Memo(), NoMemo()):
        with pytest.raises(TypeError):
            memo(square, n=3)


@given(st.lists(st.integers(0, 20), max_size=200), st.integers(1, 8))
def test_memory_is_bounded_and_drops_the_oldest(asked, limit):
    memo = Memo(limit)
    model: dict[int, int] = {}
    computed = 0
    for n in asked:
        assert memo(square, n) == n * n
        if n not in model:
            computed += 1
            if len(model) >= limit:
                del model[next(iter(model))]
            model[n] = n * n
    stats = memo.stats().get(f"{__name__}.square")
    assert stats == (
        {"calls": len(asked), "computed": computed, "distinct": len(model)} if asked else None
    )
    assert len(model) <= limit


@given(st.integers(0, 15), st.integers(1, 4))
def test_no_memo_gives_the_same_results(n, limit):
    assert Memo()(fibonacci, n) == Memo(limit)(fibonacci, n) == NoMemo()(fibonacci, n)


def test_remembering_reaches_what_a_function_calls():
    memo, forgetful = Memo(), NoMemo()
    memo(fibonacci, 20)
    forgetful(fibonacci, 20)
    name = f"{__name__}.fibonacci"
    assert memo.stats()[name]["computed"] == 21
    assert forgetful.stats()[name]["computed"] == forgetful.stats()[name]["calls"] == 21891
    assert forgetful.stats()[name]["distinct"] == 0
