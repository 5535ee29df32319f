from typing import NamedTuple

import pytest

from ndpsim.cli import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ndpsim(capsys):
    """The command line in this process: arguments in; exit code, stdout and stderr out."""

    def call(*args):
        with pytest.raises(SystemExit) as exit_:
            main([str(arg) for arg in args])
        return Answer(exit_.value.code, *capsys.readouterr())

    return call
