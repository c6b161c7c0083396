"""The container's files, read: no engine runs here that could build them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def given(name: str) -> list[str]:
    return [value for instruction, value in INSTRUCTIONS if instruction == name]


def test_the_container_runs_as_a_user_without_rights():
    assert given("USER") == ["1000"] and "--uid 1000" in DOCKERFILE
    order = [instruction for instruction, _ in INSTRUCTIONS]
    assert order.index("USER") < order.index("COPY"), "nothing that the user runs belongs to root"


def test_every_version_that_is_installed_is_pinned():
    stages = {value.split(" AS ")[1] for value in given("FROM")}
    images = {value.split(" AS ")[0].replace("${DEVICE}", "cuda") for value in given("FROM")} - stages
    assert images and all(":" in image and not image.endswith("latest") for image in images)
    assert {"cpu-packages", "cuda-packages"} <= stages and given("ARG") == ["DEVICE=cuda"]
    assert re.search(r"uv==\d+\.\d+\.\d+", DOCKERFILE)
    assert all(
        "--locked" in value for value in given("RUN") + given("ENV") if "uv sync" in value or "uv export" in value
    )


def test_the_packages_for_the_cpu_are_those_of_the_lock_file_without_what_serves_gpus():
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    (command,) = re.findall(r'UV_EXPORT="([^"]+)"', DOCKERFILE)

    def exported(*more: str) -> str:
        call = [*command.split(), "--offline", *more]
        return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert len(re.findall(r"(?m)^torch(?:vision)?==[0-9.]+", exported())) == 2
    rest = exported("--prune", "torch", "--prune", "torchvision")
    assert "accelerate==" in rest and not re.search(r"(?m)^(torch|torchvision|triton|nvidia-[\w-]+)\b", rest)


def test_a_linter_finds_nothing_in_it():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


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
    assert set(services) == {"app", "serve", "trainer", "mongodb"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service["cap_drop"] == ["ALL"]
    from tests.pipelines.cli.cli_runner import done

    command = services["serve"]["command"]
    usage = done(command[1], "--help").out
    assert all(option in usage for option in command if option.startswith("--"))
