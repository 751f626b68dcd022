"""The size and shape budgets of the code, checked in `make lint`. Uses the standard library's parser only.

    python -m tools.ratchet [--root .]

A breach is a reason to think again about the design, not to split a file at line N.
"""

from __future__ import annotations

import argparse
import ast
import io
import math
import re
import statistics
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FILE_LINES_MEDIAN = 150
FILE_LINES_MAX = 600
#: Migrations are written by tools.schema, and as long as there are tables.
GENERATED = ".migrations.versions."
FUNCTION_LINES_P95 = 45
FUNCTION_LINES_MAX = 80

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BROAD = {"Exception", "BaseException"}
_LEFTOVER = re.compile(r"#.*\b(TODO|FIXME|XXX)\b")


@dataclass
class Module:
    """One parsed source file."""

    path: Path
    name: str
    text: str
    tree: ast.Module
    is_package: bool

    @property
    def lines(self) -> list[str]:
        """The file's lines."""
        return self.text.splitlines()


@dataclass
class Report:
    """What was measured (printed) and what broke a budget (fails)."""

    facts: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)


def load(folder: Path) -> list[Module]:
    """Parse every Python file below a folder; names are relative to it."""
    modules = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        text = path.read_text()
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(path, name, text, ast.parse(text, str(path)), is_package))
    return modules


def code_lines(text: str) -> int:
    """Count the lines that hold code: no blanks, comments or docstrings."""
    counted: set[int] = set()
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    statement_start = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            statement_start = True
        elif token.type not in skipped:
            # A string that stands alone as a statement is documentation.
            if not (statement_start and token.type == tokenize.STRING):
                counted.update(range(token.start[0], token.end[0] + 1))
            statement_start = False
    return len(counted)


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def function_lines(node: Function) -> int:
    """Return the length of a function in lines, without decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def percentile(values: Sequence[int], share: float) -> int:
    """Return the smallest value that at least this share of the values does not exceed; 0 for no values."""
    if not values:
        return 0
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def untyped(node: Function) -> list[str]:
    """Return what lacks an annotation: argument names, or `return`."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    if positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    everything = [*positional, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    lacking = [argument.arg for argument in everything if argument.annotation is None]
    return lacking if node.returns is not None else [*lacking, "return"]


def unexplained_handlers(module: Module) -> Iterator[int]:
    """Yield the lines of broad exception handlers without a reason in a comment on or just above them."""
    comments = comment_lines(module.text)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node) and not comments & {node.lineno, node.lineno - 1}:
            yield node.lineno


def is_broad(handler: ast.ExceptHandler) -> bool:
    """True for `except:`, `except Exception` and `except BaseException`, alone or in a tuple."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(item is None or (isinstance(item, ast.Name) and item.id in _BROAD) for item in caught)


def comment_lines(text: str) -> set[int]:
    """Return the lines with a comment that says more than a tool's mark like `noqa`."""
    result = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and re.sub(r"#\s*(noqa|type: ignore|fmt:)\S*(\s*\w+\d+)?", "", token.string):
            result.add(token.start[0])
    return result


def top_level_imports(module: Module, known: set[str]) -> set[str]:
    """Return the modules of ours that this one imports when it is loaded."""
    found: set[str] = set()
    for statement in loaded_statements(module.tree.body):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = import_base(module, statement)
            for alias in statement.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return {name for name in found if name in known and name != module.name}


def import_base(module: Module, statement: ast.ImportFrom) -> str:
    """Return the absolute name of the module that a `from ... import` names."""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    keep = len(parts) - statement.level + module.is_package
    return ".".join([*parts[:keep], *filter(None, [statement.module])])


def loaded_statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements that run at import, following `if`, `try` and `with`, but not TYPE_CHECKING blocks."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(statement.test):
                yield from loaded_statements(statement.body)
            yield from loaded_statements(statement.orelse)
        elif isinstance(statement, ast.Try):
            handlers = [inner for handler in statement.handlers for inner in handler.body]
            yield from loaded_statements([*statement.body, *handlers, *statement.orelse, *statement.finalbody])
        elif isinstance(statement, ast.With | ast.ClassDef):
            yield from loaded_statements(statement.body)


def import_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            start = stack.index(name)
            group = sorted(stack[start:])
            del stack[start:]
            if len(group) > 1:
                result.append(group)

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return result


def check_files(modules: Sequence[Module], report: Report) -> None:
    """Sizes of files: the median and the largest. Empty packages do not count towards the median."""
    sizes = [len(module.lines) for module in modules if module.lines]
    median = statistics.median(sizes) if sizes else 0
    report.facts.append(f"files: {len(sizes)}, median {median:g}, largest {max(sizes, default=0)} lines")
    if median > FILE_LINES_MEDIAN:
        report.breaches.append(f"the median file has {median:g} lines; the budget is {FILE_LINES_MEDIAN}")
    for module in modules:
        if len(module.lines) > FILE_LINES_MAX and GENERATED not in module.name:
            report.breaches.append(f"{module.path}: {len(module.lines)} lines; the budget is {FILE_LINES_MAX}")


def check_functions(modules: Sequence[Module], report: Report) -> None:
    """Sizes of functions, and annotations on all of them."""
    sizes, total, typed = [], 0, 0
    for module in modules:
        for node in functions(module.tree):
            size = function_lines(node)
            sizes.append(size)
            where = f"{module.path}:{node.lineno}: {node.name}"
            if size > FUNCTION_LINES_MAX:
                report.breaches.append(f"{where} has {size} lines; the budget is {FUNCTION_LINES_MAX}")
            lacking = untyped(node)
            total += 1
            typed += not lacking
            if lacking:
                report.breaches.append(f"{where} has no annotation for {', '.join(lacking)}")
    p95 = percentile(sizes, 0.95)
    share = 100 * typed / total if total else 100
    report.facts.append(f"functions: {total}, p95 {p95}, longest {max(sizes, default=0)} lines, typed {share:.4g} %")
    if p95 > FUNCTION_LINES_P95:
        report.breaches.append(
            f"5 % of the functions are longer than {p95 - 1} lines; the budget is {FUNCTION_LINES_P95}"
        )


def check_shape(modules: Sequence[Module], report: Report) -> None:
    """Import cycles, broad handlers without a reason, left-overs, folders that are no packages."""
    known = {module.name for module in modules}
    cycles = import_cycles({module.name: top_level_imports(module, known) for module in modules})
    report.facts.append(f"import cycles: {len(cycles)}")
    report.breaches += [f"import cycle: {' <-> '.join(group)}" for group in cycles]
    for module in modules:
        for line in unexplained_handlers(module):
            report.breaches.append(f"{module.path}:{line}: a broad except needs its reason in a comment beside it")
        for number, text in enumerate(module.lines, 1):
            if _LEFTOVER.search(text):
                report.breaches.append(f"{module.path}:{number}: a left-over mark")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
                report.breaches.append(f"{module.path}:{node.lineno}: a stub")
        if not (module.path.parent / "__init__.py").exists() and module.name.count("."):
            report.breaches.append(f"{module.path.parent}: a folder with modules needs an __init__.py")


def check(root: Path) -> Report:
    """Measure `src` (all budgets) and `tests` (largest file, ratio to the code) below a root."""
    report = Report()
    source, tests = load(root / "src"), load(root / "tests")
    check_files(source, report)
    check_functions(source, report)
    check_shape(source, report)
    for module in tests:
        if len(module.lines) > FILE_LINES_MAX:
            report.breaches.append(f"{module.path}: {len(module.lines)} lines; the budget is {FILE_LINES_MAX}")
    code = sum(code_lines(module.text) for module in source)
    test_code = sum(code_lines(module.text) for module in tests)
    ratio = test_code / code if code else 0
    report.facts.append(f"code lines: {code} source, {test_code} tests, ratio {ratio:.2f} (goal: at least 1)")
    return report


def main() -> None:
    """Print the measures; exit 1 with the list of breaches when there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path())
    report = check(parser.parse_args().root)
    for fact in report.facts:
        print(f"ratchet: {fact}")
    if report.breaches:
        raise SystemExit("\n".join(["error: the code breaks its budgets", *(f"  {line}" for line in report.breaches)]))


if __name__ == "__main__":
    main()
