"""Remote output in a plain IPython shell: it goes where local output goes."""

import pytest
from IPython.core.interactiveshell import InteractiveShell
from perijove.magics.messages import Message
from perijove.magics.outputs import Outputs
from perijove.magics.remote_errors import remote_error
from perijove.wire.errors import RemoteError


def message(msg_type, **content):
    return Message("iopub", {"msg_type": msg_type}, {"msg_id": "cell"}, {}, content)


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    yield shell
    InteractiveShell.clear_instance()


def test_streams_go_to_the_streams(shell, capsys):
    outputs = Outputs(shell)
    outputs.publish(message("stream", name="stdout", text="out"))
    outputs.publish(message("stream", name="stderr", text="err"))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("out", "err")


def test_a_remote_exception_has_its_name_text_and_traceback():
    error = remote_error(
        {"ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": ["line 1", "line 2"]}
    )
    assert isinstance(error, RemoteError)
    assert type(error).__name__ == "ZeroDivisionError"
    assert str(error) == "division by zero"
    assert error._render_traceback_() == ["line 1", "line 2"]
