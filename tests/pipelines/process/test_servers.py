import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gradebook.pipelines.process import servers

LISTEN = """
import socket, sys, time
from pathlib import Path
from gradebook.pipelines.process import servers

listening = socket.create_server(("127.0.0.1", 0))
port = listening.getsockname()[1]
with servers.registered(Path(sys.argv[1]), servers.FIFTYONE, port=port, pid=__import__("os").getpid(), token="t"):
    print(port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def address(root, name):
    server = servers.find(root, name)
    return server and server.address


def test_a_server_is_found_while_it_runs_and_by_its_own_name(tmp_path, port):
    assert servers.find(tmp_path, servers.APP) is None
    with servers.registered(tmp_path, servers.APP, port=port, pid=os.getpid(), token=None):
        assert address(tmp_path, servers.APP) == f"http://127.0.0.1:{port}"
        assert servers.find(tmp_path, servers.FIFTYONE) is None
    assert servers.find(tmp_path, servers.APP) is None
    assert list((tmp_path / "servers").iterdir()) == []


def test_a_server_of_another_process_is_found_and_a_killed_one_is_not(tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    port = int(server.stdout.readline())
    assert address(tmp_path, servers.FIFTYONE) == f"http://127.0.0.1:{port}"
    os.kill(server.pid, signal.SIGKILL)
    server.communicate()
    assert (tmp_path / "servers" / "fiftyone.json").is_file(), "it could not tidy up"
    assert servers.find(tmp_path, servers.FIFTYONE) is None


def test_a_file_of_another_boot_or_with_invalid_content_is_ignored(tmp_path, port):
    (tmp_path / "servers").mkdir()
    file = tmp_path / "servers" / "app.json"
    before = (datetime.now(UTC) - timedelta(days=9000)).isoformat()
    for content in ("", "[]", "{}", json.dumps({"port": port, "pid": os.getpid(), "at": before})):
        file.write_text(content)
        assert servers.find(tmp_path, servers.APP) is None
    file.write_text(json.dumps({"port": port, "pid": os.getpid(), "at": datetime.now(UTC).isoformat()}))
    assert address(tmp_path, servers.APP) == f"http://127.0.0.1:{port}"


def test_the_newest_server_is_the_one_that_is_found(tmp_path, port):
    with socket.create_server(("127.0.0.1", 0)) as second:
        newer = second.getsockname()[1]
        first = servers.registered(tmp_path, servers.APP, port=port, pid=os.getpid(), token=None)
        first.__enter__()
        with servers.registered(tmp_path, servers.APP, port=newer, pid=os.getpid(), token=None):
            first.__exit__(None, None, None)
            assert address(tmp_path, servers.APP) == f"http://127.0.0.1:{newer}", "an older one takes only its own"


def test_a_live_process_whose_port_is_closed_is_no_server(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with servers.registered(tmp_path, servers.APP, port=port, pid=os.getpid(), token=None):
            assert address(tmp_path, servers.APP) == f"http://127.0.0.1:{port}"
            server.close()
            assert servers.find(tmp_path, servers.APP) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_ends_on_either_signal_though_its_shell_ignores_ctrl_c(number):
    """A shell that starts a program in the background makes it ignore SIGINT."""
    code = """
import time
from gradebook.pipelines.process import servers
with servers.signals_as_interrupts():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("ended")
"""
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + code
    child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=30)
    assert (out, child.returncode) == ("ended\n", 0)


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with servers.signals_as_interrupts():
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_its_user_can_read_the_token_of_a_server_and_links_have_it(tmp_path, port):
    with servers.registered(tmp_path, servers.APP, port=port, pid=os.getpid(), token="a+b"):
        assert (tmp_path / "servers" / "app.json").stat().st_mode & 0o777 == 0o600
        server = servers.find(tmp_path, servers.APP)
    assert server == servers.Server(f"http://127.0.0.1:{port}", "a+b")
    assert "a+b" not in repr(server), "it gets into no log"
    assert server.link("/evolution", sample="s") == f"http://127.0.0.1:{port}/evolution?sample=s&token=a%2Bb"
    assert server.headers == {"Authorization": "Bearer a+b"}
    assert servers.Server("http://x").link() == "http://x/" and servers.Server("http://x").headers == {}


def test_a_port_of_another_process_is_not_taken_for_the_projects_server(tmp_path, port):
    """A project that somebody else made may name the port of any server of this machine."""
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with servers.registered(tmp_path, servers.APP, port=port, pid=other.pid, token=None):
        assert servers.find(tmp_path, servers.APP) is None
    other.communicate()
