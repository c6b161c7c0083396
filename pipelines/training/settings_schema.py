"""Every setting of a training: its value in a preset, its kind and its meaning, for a form.

    python -m gradebook.pipelines.training.settings_schema PRESET METHOD

Presets and methods load torch, so the app runs this in another process (`load_settings`) and gets JSON.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from gradebook.storage.project import ProjectError

# asked for elsewhere, not of a project, or listed first
EXCLUDED = ("preset", "method", "data", "run", "steps", "seed", "settings")
TIMEOUT_S = 120.0
Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a preset and method."""

    name: str  # as on the command line, without dashes: student.lr
    value: str  # as typed there
    meaning: str  # a sentence
    kind: str  # flag, int, float or text


def list_settings(preset: str, method: str) -> list[Setting]:
    """Returns every setting of a preset and a method, the method's own first.

    Raises:
        ConfigError: there is no such preset or method.
    """
    from pydantic import TypeAdapter

    from gradebook.pipelines.training.config import TrainConfig
    from gradebook.pipelines.training.presets import preset_of

    config = preset_of(preset, method)
    generic: Any = TrainConfig
    schema = TypeAdapter(generic[type(config.settings)]).json_schema()
    schemas = schema["$defs"] | {TrainConfig.__name__: schema}
    common = [one for one in _settings_of(config, schemas) if one.name.partition(".")[0] not in EXCLUDED]
    return [*_settings_of(config.settings, schemas, flags=False), *common]


def load_settings(preset: str, method: str) -> list[Setting]:
    """Returns `list_settings` without loading torch in this process.

    Raises:
        ProjectError: the other process failed.
    """
    command = [sys.executable, "-P", "-m", __name__, preset, method]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        lines = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise ProjectError(f"the settings cannot be listed ({lines[-1][:200] if lines else error})") from error
    return [Setting(**one) for one in json.loads(done.stdout)]


def changed_settings(settings: list[Setting], typed: Mapping[str, str]) -> dict[str, Value]:
    """Returns the settings whose text was changed, as `gradebook.pipelines.jobs.launcher.start_training` takes them.

    Raises:
        ProjectError: a text is not of the setting's kind.
    """
    return {
        one.name: _parse(one, typed[one.name].strip())
        for one in settings
        if one.name in typed and typed[one.name].strip() != one.value
    }


def _parse(one: Setting, text: str) -> Value:
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
    expected = {"flag": "True or False", "int": "a whole number", "float": "a number"}[one.kind]
    raise ProjectError(f"{one.name} is {text or 'empty'}: it must be {expected}")


def _settings_of(config: Any, schemas: Mapping[str, Any], prefix: str = "", *, flags: bool = True) -> Iterator[Setting]:
    """Yields the settings of a dataclass and of the dataclasses in it.

    Args:
        config: the dataclass.
        schemas: JSON schema of each dataclass, by its name; its descriptions are the settings' meanings.
        prefix: of the names.
        flags: whether the command line takes truth values as flags: --live, not --live True.
    """
    properties = schemas[type(config).__name__]["properties"]
    for field in fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _settings_of(value, schemas, f"{name}.", flags=flags)
        else:
            meaning = " ".join(properties[field.name].get("description", "").split())
            yield Setting(name=name, value=str(value), meaning=meaning, kind=_kind(value, flags=flags))


def _kind(value: object, *, flags: bool) -> str:
    if isinstance(value, bool):
        return "flag" if flags else "text"
    return type(value).__name__ if isinstance(value, int | float) else "text"


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in list_settings(*sys.argv[1:3])]))
