"""Counts what makes the code easy or hard to read: modules, circular imports, long functions, lines.

    python -m benchmarks.structure                  this checkout
    python -m benchmarks.structure OLD NEW          two checkouts side by side

Prints a Markdown table with a column for each checkout. Tests and benchmarks are not counted.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("app", "mpl", "pipelines", "storage")
MAX_LINES, MAX_ARGUMENTS = 30, 6  # of a function

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_text = "directory of a checkout; this one by default"
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="CHECKOUT", help=help_text)
    checkouts = parser.parse_args(arguments).checkouts or [Path(__file__).parent.parent]
    for checkout in checkouts:
        if not any((checkout / package).is_dir() for package in PACKAGES):
            parser.error(f"{checkout} has none of the folders {', '.join(PACKAGES)}: give a checkout's directory")
    tables = [counts(checkout.resolve()) for checkout in checkouts]
    print("| |", " | ".join(checkout.resolve().name for checkout in checkouts), "|")
    print("| --- |", " | ".join("---" for _ in checkouts), "|")
    for name in tables[0]:
        print(f"| {name} |", " | ".join(f"{table[name]:,}" for table in tables), "|")
    return 0


def counts(checkout: Path) -> dict[str, int]:
    """Returns the counts of a checkout by name."""
    modules = {_name(checkout, path): ast.parse(path.read_text(encoding="utf-8")) for path in _files(checkout)}
    functions = [node for tree in modules.values() for node in ast.walk(tree) if isinstance(node, Function)]
    root = [path for path in (checkout / "pipelines").glob("*.py") if path.name != "__init__.py"]
    return {
        "modules at the root of pipelines": len(root),
        "modules": len(modules),
        "circular imports": len(circles(modules)),
        f"functions over {MAX_LINES} lines": sum(_lines(f) > MAX_LINES for f in functions),
        f"functions with more than {MAX_ARGUMENTS} arguments": sum(_arguments(f) > MAX_ARGUMENTS for f in functions),
        "lines of code": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in _files(checkout)),
    }


def circles(modules: dict[str, ast.Module]) -> list[set[str]]:
    """Returns the groups of modules that import each other, directly or indirectly.

    Args:
        modules: dotted name without `gradebook.` -> syntax tree. Imports inside functions count too.
    """
    imports = {name: {m for m in _imported(tree) if m in modules} - {name} for name, tree in modules.items()}
    reached = {name: _reachable(name, imports) for name in modules}
    groups = {frozenset(m for m in reached[name] if name in reached[m]) for name in modules if name in reached[name]}
    return [set(group) for group in groups]


def _reachable(name: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(imports[name])
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += imports[module]
    return seen


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yields the names, without `gradebook.`, of the modules that a module may import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.removeprefix("gradebook.")
            yield from (f"{node.module}.{alias.name}".removeprefix("gradebook.") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("gradebook.") for alias in node.names)


def _files(checkout: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (checkout / package).rglob("*.py"))


def _name(checkout: Path, path: Path) -> str:
    return ".".join(path.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__")


def _lines(function: Function) -> int:
    """Returns the lines of a function without its docstring."""
    first = function.body[0]
    is_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _arguments(function: Function) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


if __name__ == "__main__":
    sys.exit(main())
