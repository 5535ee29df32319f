import os

import pytest


@pytest.fixture(scope="session")
def jit():
    """Needs the compiled kernel; too slow without."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") == "1":
        pytest.skip("the kernel is not compiled (NUMBA_DISABLE_JIT=1)")
