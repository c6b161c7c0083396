"""Every setting of a training, what it is in a preset and what it means, for people who choose.

    python -m gradebook.pipelines.training.settings_schema PRESET METHOD

Presets and methods need torch: the app asks a process of its own, by `load_settings`, and gets JSON.
"""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from gradebook.storage.project import ProjectError

EXCLUDED = ("preset", "method", "data", "run", "steps", "seed")  # asked for elsewhere, or not of a project
TIMEOUT_S = 120.0  # seconds
Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a preset and method."""

    name: str  # as on the command line, without dashes: student.lr
    value: str  # as typed there
    meaning: str  # a sentence
    kind: str  # flag, int, float or text


def list_settings(preset: str, method: str) -> list[Setting]:
    """Returns every setting that goes with a preset and a method, the method's own first.

    Raises:
        ConfigError: there is no such preset or method.
    """
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of(preset, method)
    common = [one for one in _of(config) if one.name.partition(".")[0] not in (*EXCLUDED, "settings")]
    return [*_of(config.settings, told=True), *common]


def load_settings(preset: str, method: str) -> list[Setting]:
    """Returns `list_settings` without loading torch in this process.

    Raises:
        ProjectError: the other process failed.
    """
    command = [sys.executable, "-P", "-m", __name__, preset, method]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise ProjectError(f"the settings cannot be listed ({said[-1][:200] if said else error})") from error
    return [Setting(**one) for one in json.loads(told.stdout)]


def changed_settings(known: list[Setting], typed: Mapping[str, str]) -> dict[str, Value]:
    """Returns the settings whose text was changed, as `gradebook.pipelines.jobs.launcher.start_training` takes them.

    Raises:
        ProjectError: a text is not of the setting's kind.
    """
    return {
        one.name: _read(one, typed[one.name].strip())
        for one in known
        if one.name in typed and typed[one.name].strip() != one.value
    }


def _read(one: Setting, text: str) -> Value:
    if one.kind == "flag" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if one.kind in ("int", "float"):
            return int(text) if one.kind == "int" else float(text)
    except ValueError:
        pass
    else:
        if one.kind == "text":
            return text
    wanted = {"flag": "True or False", "int": "a whole number", "float": "a number"}[one.kind]
    raise ProjectError(f"{one.name} is {text or 'empty'}: it must be {wanted}")


def _of(config: Any, prefix: str = "", *, told: bool = False) -> Iterator[Setting]:
    """Yields the settings of a dataclass and of those in it; `told`: its truths are values, not flags."""
    meanings = _meanings(type(config))
    for field in fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _of(value, f"{name}.", told=told)
        else:
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            kind = "flag" if isinstance(value, bool) and not told else type(value).__name__ if plain else "text"
            yield Setting(name=name, value=str(value), meaning=meanings.get(field.name, ""), kind=kind)


def _meanings(kind: type) -> dict[str, str]:
    """Returns the text below each field of a dataclass, which is what the command line's help shows."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(said))):
                    found[field.target.id] = " ".join(said.split())
    return found


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in list_settings(*sys.argv[1:3])]))
