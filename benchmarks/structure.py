"""Counts what makes a checkout easy or hard to read: modules, circles of imports, long functions, lines.

    python -m benchmarks.structure OLD_CHECKOUT NEW_CHECKOUT

Prints a Markdown table, one column a checkout. Tests and benchmarks are left out of it.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("app", "mpl", "pipelines", "storage")
LONG, MANY = 30, 6  # lines of a function, arguments of a function

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table for the checkouts named on the command line."""
    checkouts = [Path(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    tables = [counts(checkout) for checkout in checkouts]
    print("| |", " | ".join(checkout.name for checkout in checkouts), "|")
    print("| --- |", " | ".join("---" for _ in checkouts), "|")
    for name in tables[0]:
        print(f"| {name} |", " | ".join(f"{table[name]:,}" for table in tables), "|")
    return 0


def counts(checkout: Path) -> dict[str, int]:
    """Returns the name and the number of each thing that is counted in a checkout."""
    modules = {_name(checkout, path): ast.parse(path.read_text(encoding="utf-8")) for path in _files(checkout)}
    functions = [node for tree in modules.values() for node in ast.walk(tree) if isinstance(node, Function)]
    root = [path for path in (checkout / "pipelines").glob("*.py") if path.name != "__init__.py"]
    return {
        "modules at the root of pipelines": len(root),
        "modules": len(modules),
        "circles of imports": len(circles(modules)),
        f"functions over {LONG} lines": sum(_lines(function) > LONG for function in functions),
        f"functions with more than {MANY} arguments": sum(_arguments(function) > MANY for function in functions),
        "lines of code": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in _files(checkout)),
    }


def circles(modules: dict[str, ast.Module]) -> list[set[str]]:
    """Returns the groups of modules that import each other, directly or by way of others.

    Args:
        modules: dotted name below the packages' root -> its tree. Imports inside functions count too.
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
    """Yields the modules that a module may import, without the package's own name in front."""
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
    """Returns how long a function is without its docstring."""
    first = function.body[0]
    is_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _arguments(function: Function) -> int:
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


if __name__ == "__main__":
    sys.exit(main())
