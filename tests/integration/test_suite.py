"""The tests themselves: each asserts something, what looks like an assertion is one, and each stands by itself."""

from __future__ import annotations

import ast

from helpers.paths import ROOT, TESTS

TREES = {path.relative_to(TESTS).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(TESTS.rglob("*.py"))}
ASSERTING = {"raises", "warns", "fail"}


def called(node: ast.AST) -> set[str]:
    """Names of what is called anywhere in it."""
    functions = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in functions}


def asserts(node: ast.AST, helpers: set[str]) -> bool:
    names = called(node)
    return (
        any(isinstance(each, ast.Assert) for each in ast.walk(node))
        or not names.isdisjoint(ASSERTING | helpers)
        or any(name.startswith("assert_") for name in names)
    )


def test_every_test_asserts_something_itself_or_by_a_helper() -> None:
    functions = [
        (file, node)
        for file, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    helpers = {node.name for _, node in functions if not node.name.startswith("test_") and asserts(node, set())}
    methods = {
        method.name
        for _, node in functions
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and asserts(method, set())
    }
    tests = [(file, node) for file, node in functions if node.name.startswith("test_")]
    assert [f"{file}::{node.name}" for file, node in tests if not asserts(node, helpers | methods)] == []
    assert len(tests) > 500


def test_no_assertion_is_always_true() -> None:
    """``assert a, b == c`` and ``assert (a, "b")`` hold whatever b and c are."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        and (isinstance(node.test, ast.Tuple | ast.Constant) or isinstance(node.msg, ast.Compare))
    ]
    assert found == []


def imported(tree: ast.Module) -> set[str]:
    """Every name that stands in an import, wherever in the file, with all that comes before its last dot."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return {part for name in names for part in name.split(".")}


def test_no_file_imports_from_a_test_or_from_conftest() -> None:
    """What tests share is in ``helpers``: then any of them can be moved, split or run alone."""
    private = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    found = {file: sorted(imported(tree) & private) for file, tree in TREES.items()}
    assert {file: names for file, names in found.items() if names} == {}
    assert imported(ast.parse("def f():\n    from integration.test_train import x")) & private == {"test_train"}


def test_unit_tests_lie_where_the_package_they_test_lies() -> None:
    packages = {path.parent.name for path in (ROOT / "src" / "weakspot").glob("*/__init__.py")}
    folders = {path.name for path in (TESTS / "unit").iterdir() if any(path.glob("test_*.py"))}
    assert folders - packages == set()
    assert not list(TESTS.glob("test_*.py"))
