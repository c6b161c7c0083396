"""The container's files, read: no engine runs here that could build them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def given(name: str) -> list[str]:
    return [value for instruction, value in INSTRUCTIONS if instruction == name]


def test_the_container_runs_as_a_user_without_rights():
    assert given("USER") == ["gradebook"]
    order = [instruction for instruction, _ in INSTRUCTIONS]
    assert order.index("USER") < order.index("COPY"), "nothing that the user runs belongs to root"


def test_every_version_that_is_installed_is_pinned():
    assert all(":" in image and not image.endswith("latest") for image in given("FROM"))
    assert re.search(r"uv==\d+\.\d+\.\d+", DOCKERFILE)
    assert all("--locked" in run for run in given("RUN") if "uv sync" in run)


def test_its_health_check_asks_for_a_path_that_needs_no_token():
    from gradebook.app.serving import HEALTH_PATH

    (check,) = given("HEALTHCHECK")
    assert HEALTH_PATH in check


def test_what_is_copied_is_there_and_not_ignored():
    copied = {word for value in given("COPY") for word in value.split()[:-1] if not word.startswith("--")}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    packages = subprocess.run(["git", "ls-files", "gradebook"], cwd=ROOT, capture_output=True, text=True).stdout
    linked = {Path(line).name for line in packages.split() if (ROOT / line).is_symlink()}
    assert linked <= copied, "the package links to them"


def test_compose_opens_ports_to_this_machine_alone():
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"app", "serve"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
    from tests.pipelines.cli.cli_runner import done

    command = services["serve"]["command"]
    usage = done(command[1], "--help").out
    assert all(option in usage for option in command if option.startswith("--"))
