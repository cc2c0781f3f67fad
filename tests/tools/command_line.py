"""Commands that must fail."""

import pytest

from meta_train.commands._main import main


def fails_with(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    """What a command that must fail says on stderr."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    message = capsys.readouterr().err
    assert ended.value.code == status, message
    return message


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error message of a command that must fail: one line, status 2."""
    message = fails_with(capsys, 2, *arguments).strip().splitlines()[-1]
    assert message.startswith("nfn-optim: error: ")
    return message
