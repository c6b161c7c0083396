"""The code in the documents: commands are parsed by the command line itself, Python is compiled and checked by name."""

import ast
import functools
import importlib
import importlib.util
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

import gradebook
from gradebook.pipelines.cli import app
from gradebook.pipelines.cli.train_command import parse_command

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PYTHON = re.compile(r"(?:import|from|def|class|project|run|queue|classifier)\b[^\n]*[(=.]|import \w+$", re.MULTILINE)
OBJECTS = {"project": gradebook.Project, "run": gradebook.Run, "classifier": gradebook.Classifier}
NUMBER = "3"  # stands for N
PREFIXES = ("uv run", "--extra mongodb", "--locked", "PJRT_DEVICE=CPU")


def blocks(text: str) -> Iterator[str]:
    """Yields the code blocks of a Markdown document: fenced, or indented after an empty line."""
    yield from (match[1] for match in re.finditer(r"(?ms)^```\w*\n(.*?)^```$", text))
    lines = re.sub(r"(?ms)^```.*?^```$", "", text)
    for match in re.finditer(r"(?m)(?<=\n\n)(?: {4}.*\n(?:\n(?= {4}))?)+", lines):
        yield re.sub(r"(?m)^ {4}", "", match[0])


def shell_lines(document: Path) -> Iterator[str]:
    """Yields the commands in a document's blocks and in its inline code, without comments."""
    text = document.read_text(encoding="utf-8")
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"(?:^|\s)#.*", "", line).strip()
    for match in re.finditer(r"`((?:gradebook|python -m|accelerate) [^`]+)`", text):
        line = re.sub(r"\s+", " ", match[1])
        if re.fullmatch(r"\S+ \S+ [^-].*", line) and not re.search(
            r"\.\.\.|[|\[]", line
        ):  # else a command's name alone
            yield line


def commands(document: Path, *beginnings: str) -> list[str]:
    """Returns the commands of a document that begin with one of these words."""
    lines = []
    for line in shell_lines(document):
        for prefix in PREFIXES:
            line = line.removeprefix(prefix).strip()
        if line.startswith(tuple(f"{word} " for word in beginnings)):
            lines.append(line.partition(" && ")[0].partition(" > ")[0])
    return lines


def parse(arguments: list[str]) -> None:
    """Reads a command line of `gradebook` as the program does, and does nothing."""
    name, *rest = (NUMBER if word == "N" else word for word in arguments)
    if name in ("--version", "completion") or "--help" in rest:
        return
    if name == "train":
        parse_command([word for word in rest if word != "--resume"], program="gradebook train", saved=lambda *_: {})
        return
    aliases = {alias: spec for spec in app._subcommands.values() for alias in spec.aliases}
    spec = {**{key.replace("_", "-"): spec for key, spec in app._subcommands.items()}, **aliases}[name]
    silent = functools.wraps(spec.target)(lambda *_, **__: None)
    tyro.cli(silent, args=rest, prog=f"gradebook {name}", use_underscores=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_gradebook_is_one_that_it_understands(document):
    for line in commands(document, "gradebook"):
        try:
            parse(shlex.split(line)[1:])
        except SystemExit as end:
            assert not end.code, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_training_that_is_launched_is_one_that_it_understands(document):
    for line in commands(document, "accelerate launch"):
        _, _, rest = line.partition("pipelines/train.py")
        parse(["train", *(shlex.split(rest) or ["PROJECT"])])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_programs_and_extras_that_are_named_exist(document):
    for line in commands(document, "python", "python3"):
        words = shlex.split(line)[1:]
        if words[0] == "-m":
            assert importlib.util.find_spec(words[1]) is not None, line
        elif words[0].endswith(".py") and not words[0].startswith("classifier/"):
            assert (ROOT / words[0]).exists(), line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = document.read_text(encoding="utf-8")
    extras = {*re.findall(r"--extra ([\w-]+)", text), *re.findall(r"gradebook-ai\[([\w-]+)\]", text)}
    assert extras <= set(project["project"]["optional-dependencies"])
    assert set(re.findall(r"--group ([\w-]+)", text)) <= set(project["dependency-groups"])


def python_blocks() -> list[tuple[str, str]]:
    found = ((path, block) for path in DOCUMENTS for block in blocks(path.read_text(encoding="utf-8")))
    return [(path.name, block) for path, block in found if PYTHON.match(block.lstrip())]


def test_there_is_python_in_the_documents_that_explain_the_api():
    assert {"README.md", "python.md", "production.md", "add-a-reason.md"} <= {name for name, _ in python_blocks()}


@pytest.mark.parametrize(("name", "block"), python_blocks())
def test_python_compiles_and_uses_names_that_exist(name, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            assert all(importlib.import_module(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gradebook":
            assert node.attr in gradebook.__all__
        elif isinstance(node, ast.Call):
            _check_call(node)


def _check_call(call: ast.Call) -> None:
    """Checks that a method of the API exists and takes the arguments that it is given."""
    function = call.func
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return
    names = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    if function.value.id == "gradebook" and inspect.isfunction(getattr(gradebook, function.attr)):
        inspect.signature(getattr(gradebook, function.attr)).bind(*call.args, **names)
    elif (kind := OBJECTS.get(function.value.id)) is not None:
        inspect.signature(getattr(kind, function.attr)).bind(None, *call.args, **names)
