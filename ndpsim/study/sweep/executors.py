"""Where points run: in this process, in a pool of processes, on a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ndpsim.errors import InputError

T = TypeVar("T")

WAITING: Final = 3
"""Points handed out per worker: one that runs and others that wait, so that none idles."""


@dataclass(frozen=True)
class Workers:
    """An executor, how to get another, and how many points to hand out at a time."""

    start: Callable[[], Executor]
    window: int
    n_workers: int
    owned: bool = True
    """Whether executors are ours to close."""


class Serial(Executor):
    """Runs everything at once in the calling thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """A future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def local(jobs: int | None) -> Workers:
    """`jobs` processes; one job runs in this process. By default one per core."""
    if jobs is not None and jobs < 1:
        raise InputError("--jobs", f"must be 1 or more, got {jobs}")
    n = jobs or n_cores()
    if n == 1:
        return Workers(Serial, window=1, n_workers=1)
    return Workers(lambda: _pool(n), window=WAITING * n, n_workers=n)


def given(executor: Executor) -> Workers:
    """An executor of the caller's."""
    n = int(getattr(executor, "_max_workers", 0) or n_cores())
    return Workers(lambda: executor, window=WAITING * n, n_workers=n, owned=False)


def n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def cluster(address: str) -> Iterator[Workers]:
    """The workers of a Dask scheduler.

    Raises
    ------
    InputError
        Dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "--cluster", "needs Dask: pip install 'ndpsim[cluster]' (dask and distributed)"
        ) from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError("--cluster", f"no Dask scheduler at '{address}': {reason}"[:200]) from None
    with client:
        n = max(sum(client.ncores().values()), 1)
        yield Workers(client.get_executor, window=WAITING * n, n_workers=n, owned=False)


def _pool(n: int) -> ProcessPoolExecutor:
    """Fresh processes (spawn): no state is inherited, on any system the same."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        n, mp_context=context, initializer=_begin, initargs=(context.Lock(), context.Event())
    )


def _begin(lock: Any, compiled: Any) -> None:
    """A worker's first act: end with its parent; let one worker compile kernels for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    from ndpsim.study.sweep.warm import warm

    with lock:
        if not compiled.is_set():
            warm()
            compiled.set()


def _end_with(sentinel: int) -> None:
    """A parent that was killed cannot stop its workers; they notice."""
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)
