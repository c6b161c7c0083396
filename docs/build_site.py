"""The pages of the site that are not files of this directory: MkDocs calls these functions while it builds the site."""

import base64
import contextlib
import io
import json
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).parent.parent
WRITTEN_ELSEWHERE = {  # page -> file of the repository
    "index.md": "README.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "photographs.md": "examples/photographs.ipynb",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)#]+)(#[^)]*)?\)")
WIDTH = 80  # characters of a line of help
API = (
    ("Projects", ("create", "open", "Project", "LabelResult")),
    ("Runs", ("Run", "Evaluation")),
    ("Classifiers", ("load_classifier", "Classifier", "Prediction")),
    ("Errors", ("ProjectError", "ConfigError", "BrokenImage")),
)


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Shows the version of Gradebook at the end of each page."""
    from gradebook import __version__

    config.copyright = f"Gradebook {__version__}"
    return config


def on_files(files: Files, config: "MkDocsConfig") -> Files:
    """Adds the generated pages, their pictures, and the logo."""
    pages = {page: (ROOT / name).read_text(encoding="utf-8") for page, name in WRITTEN_ELSEWHERE.items()}
    pages["photographs.md"], pictures = notebook_page(json.loads(pages["photographs.md"]))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    pages |= {
        "reference/help.md": help_page(),
        "reference/settings.md": settings_page(),
        "reference/api.md": api_page(),
    }
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "mark.svg", abs_src_path=str(ROOT / "app" / "mark.svg")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links to files of the repository into links to pages of the site, or into plain text if there is none."""
    source = Path(WRITTEN_ELSEWHERE.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    return LINK.sub(lambda match: _link(match, source.parent), markdown)


def notebook_page(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """Returns a notebook as a page with its stored outputs, and the pictures among these by their path on the site."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                name = f"photographs-{cell['id']}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![The output of this cell]({name})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def help_page() -> str:
    """Returns the help of every command."""
    from gradebook.pipelines.cli.overview import GROUPS

    parts = ["# Help of every command", "What `gradebook COMMAND --help` prints, in the groups of `gradebook` alone."]
    for group, commands in GROUPS.items():
        parts.append(f"## {group}")
        parts += [f"### {command}\n\n```text\n{_help(command)}\n```" for command in commands]
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Returns the settings of each method with the preset `quick`; those that all methods share come last."""
    from gradebook.mpl.methods import METHODS
    from gradebook.pipelines.training.settings_schema import list_settings

    settings = {method: list_settings("quick", method) for method in METHODS}
    shared = set.intersection(*(set(rows) for rows in settings.values()))
    parts = [
        "# Settings of a training",
        "Every setting is an option of `gradebook train`, such as `--student.lr 0.01`. The values are those of the "
        "preset `quick`, without what is asked for elsewhere, such as `--steps`.",
    ]
    for method, rows in settings.items():
        own = [row for row in rows if row not in shared]
        parts.append(f"## {method}\n\n{_table(own) if own else 'It has no settings of its own.'}")
    parts.append(f"## All methods\n\n{_table([row for row in settings['mpl'] if row in shared])}")
    return "\n\n".join(parts) + "\n"


def api_page() -> str:
    """Returns the page that mkdocstrings fills from the docstrings of the Python API."""
    import gradebook

    listed = {name for _, names in API for name in names}
    assert listed >= set(gradebook.__all__) - {"__version__"}, "every public name is documented"
    parts = ["# Reference of the Python API", "[The Python API](../python.md) explains it with examples."]
    for title, names in API:
        parts.append(f"## {title}")
        for name in names:
            described = getattr(gradebook, name)
            parts.append(
                f"::: {described.__module__}.{described.__qualname__}\n    options:\n"
                f"      heading: gradebook.{name}\n      toc_label: {name}"
            )
    return "\n\n".join(parts) + "\n"


def _link(match: re.Match[str], folder: Path) -> str:
    picture, text, target, anchor = match.groups(default="")
    if target.startswith("photographs-"):  # a picture of the notebook, which is a file of the site alone
        return match[0]
    path = os.path.normpath(folder / target)
    pages = {name: page for page, name in WRITTEN_ELSEWHERE.items()}
    if path.startswith("docs/"):
        return (
            f"{picture}[{text}]({os.path.relpath(path, folder if folder.parts[:1] == ('docs',) else 'docs')}{anchor})"
        )
    if path in pages:
        return f"[{text}]({os.path.relpath(f'docs/{pages[path]}', folder if folder.parts else 'docs')}{anchor})"
    return text if path in text else f"{text} (`{path}`)"


def _help(command: str) -> str:
    from gradebook.pipelines.cli.main import main

    out, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([command, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return textwrap.dedent(out.getvalue()).strip("\n")


def _table(rows: Any) -> str:
    lines = ["| setting | value | meaning |", "| --- | --- | --- |"]
    for row in rows:
        value, meaning = (text.replace("|", "\\|").replace("\n", " ") for text in (row.value, row.meaning))
        lines.append(f"| `{row.name}` | {f'`{value}`' if value else ''} | {meaning} |")
    return "\n".join(lines)
