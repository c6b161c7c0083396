"""How to install an optional part of Gradebook, in the words of the program with which Gradebook was installed."""

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution

PACKAGE = "gradebook-ai"


def install_command(extra: str) -> str:
    """Returns the command that installs an extra of this package, such as serve.

    It is uv's where uv installed the package, and else pip's. A checkout is installed in place.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return f'pip install "{PACKAGE}[{extra}]"'
    by_uv, in_checkout = (package.read_text("INSTALLER") or "").strip() == "uv", _is_editable(package)
    if in_checkout:
        return f"uv sync --extra {extra}" if by_uv else f'pip install -e ".[{extra}]"'
    return f'{"uv pip" if by_uv else "pip"} install "{PACKAGE}[{extra}]"'


def _is_editable(package: Distribution) -> bool:
    try:
        source = json.loads(package.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return bool(source.get("dir_info", {}).get("editable"))
