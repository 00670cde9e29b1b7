"""The rules of the house: layers, imports, the grammar of functions, the size of files."""

import ast
import importlib
import inspect
import pkgutil
import re
import typing
from collections import Counter
from pathlib import Path

import jax

import medjax

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(m.name for m in pkgutil.walk_packages(medjax.__path__, "medjax."))
PROGRAMS = sorted(
    f"{f.parent.name}.{f.stem}"
    for folder in ("experiments", "benchmarks", "launch")
    for f in (ROOT / folder).glob("*.py")
    if "torch" not in f.stem
)
FILES = sorted(
    f for folder in ("medjax", "experiments", "launch") for f in (ROOT / folder).rglob("*.py")
)

LONGER = {"search/task.py": 415}


def for_every(items):
    """One test a rule: whoever breaks it is listed."""

    def make_test(check):
        def test_all():
            broken = []
            for item in items:
                try:
                    check(item)
                except AssertionError as e:
                    broken.append(f"{item}: {e}")
            assert not broken, "\n".join(broken)

        test_all.__doc__ = check.__doc__
        return test_all

    return make_test


# What a module may import, from the bottom up: a part of medjax imports only from lower rows.
LEVELS = [
    {"errors", "files", "progress", "typing"},
    {"native"},
    {"config", "runtime"},
    {"usage"},
    {"app", "lock", "ops", "schema"},
    {"contrastive", "losses", "models", "data", "rl", "run_options"},
    {"heads"},
    {"train"},
    {"evaluation", "weights", "workdir"},
    {"outputs", "page"},
    {"tasks"},
    {"bundle"},
    {"index"},
    {"experiment"},
    {"result"},
    {"__main__"},
    {"tools"},
    {"api"},
    {"experiments"},
    {"launch"},
]
ONLY_HERE = {
    "flax": {"models"},
    "orbax": {"train/checkpoint.py"},
    "tensorflow_datasets": {"data"},
    "matplotlib": {"evaluation/plot.py"},
    "nibabel": {"data"},
}


def test_every_experiment_has_a_test_of_its_flags():
    for path in (ROOT / "experiments").glob("[a-z]*.py"):
        tests = (ROOT / "tests" / "experiments" / f"test_{path.stem}.py").read_text()
        assert f"{path.stem}.main(" in tests or f"experiments.{path.stem}" in tests, path


def part(module: str) -> str:
    names = module.split(".")
    return names[0] if names[0] != "medjax" else names[1] if len(names) > 1 else ""


def level(name: str) -> int:
    return next(i for i, row in enumerate(LEVELS) if name in row)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it; `from medjax import x` is medjax.x."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            deeper = node.module in ("medjax", "experiments")
            found |= {f"{node.module}.{a.name}" for a in node.names} if deeper else {node.module}
    return found


@for_every([*MODULES, *PROGRAMS])
def test_every_module_imports_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


@for_every(FILES)
def test_imports_go_down_only(path):
    here = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    if here in ("medjax.__init__", "experiments.__init__", "launch.__init__"):
        return
    mine = part(here)
    for name in imports(path):
        if not name.startswith(("medjax", "experiments", "launch")) or name == "medjax":
            continue
        other = part(name)
        if other == mine:
            assert mine != "experiments", f"{here} imports another experiment, {name}"
            slices = [p.split(".")[2] for p in (here, name) if p.startswith("medjax.tasks.")]
            apart = set(slices) - {"base"}  # the contract
            assert len(apart) < 2 or slices[0] == "families", f"{here} imports {name}"
            continue
        assert level(other) < level(mine), f"{here} must not import {name}"


@for_every(FILES)
def test_heavy_libraries_stay_in_their_place(path):
    inside = path.relative_to(ROOT).as_posix().removeprefix("medjax/")
    for name in imports(path):
        places = ONLY_HERE.get(name.split(".")[0])
        if places:
            assert any(inside == p or inside.startswith(p + "/") for p in places), (inside, name)


@for_every(FILES)
def test_files_are_small(path):
    most = (
        200
        if path.parent.name == "experiments"
        else LONGER.get(f"{path.parent.name}/{path.name}", 400)
    )
    assert len(path.read_text().splitlines()) <= most


ALLOWED = {
    "conv_general_dilated",  # has the signature of jax.lax's
    "random_affine",  # the shape stands where the image would
    "random_transform",
    "mixup",  # pairs of (image, target)
}


def public_functions():
    for name in MODULES:
        if part(name) not in ("ops", "losses", "train", "data"):
            continue
        module = importlib.import_module(name)
        for label, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == name and label[0] != "_":
                yield value


@for_every(public_functions())
def test_the_grammar_of_functions(function):
    """Keys first; every option with a default is keyword-only; all is annotated; a docstring."""
    parameters = list(inspect.signature(function).parameters.values())
    assert function.__doc__ or len(inspect.getsource(function).splitlines()) <= 4
    names = [p.name for p in parameters]
    if "key" in names:
        assert names[0] == "key"
    for p in parameters:
        assert p.annotation is not inspect.Parameter.empty, f"{p.name} has no annotation"
        if p.default is not inspect.Parameter.empty:
            assert p.kind == p.KEYWORD_ONLY, f"{p.name} has a default and is not keyword-only"
    hints = typing.get_type_hints(function)
    kinds = [hints.get(p.name) for p in parameters]
    arrays = [kind is jax.Array or hasattr(kind, "_fields") for kind in kinds]  # or a tuple of them
    positional = [a for a, p in zip(arrays, parameters, strict=True) if p.kind != p.KEYWORD_ONLY]
    if part(function.__module__) in ("ops", "losses") and any(positional):
        first = positional.index(True)
        assert all(positional[first:]) or function.__name__ in ALLOWED, "arrays, then options"


def test_every_flag_that_the_documents_name_exists():
    from medjax.config import list_settings

    known = {"help", "helpfull", "version", "dist"}  # and of others' tools:
    known |= {"extra", "build", "command", "me", "ntasks", "views"}
    programs = [
        *(ROOT / "experiments").glob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "launch").glob("*.py"),
        *(ROOT / "medjax" / "tools").glob("*.py"),
    ]
    for path in programs:
        if "class Config" in path.read_text():
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            known |= {leaf.name for leaf in list_settings(module.Config)}
    documents = [
        ROOT / "README.md",
        *(ROOT / "experiments").glob("*.py"),
        *(ROOT / "medjax" / "tools").glob("*.py"),
        ROOT / "benchmarks" / "README.md",
        ROOT / "launch" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    for path in documents:
        for flag in re.findall(r"(?<![\w-])--([a-z][a-z_0-9]+)", path.read_text()):
            assert flag in known, f"{path.name} names --{flag}, which nothing has"


VAGUE = {  # pronouns, participles and adjectives that name nothing
    *("found", "each", "one", "whole", "said", "told", "seen", "beside"),
    *("alike", "together", "of", "how"),
}


def names_of(tree: ast.AST):
    """Every name that a module binds: classes, functions, arguments, variables, fields."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_class_names_are_unique():
    """But for `Config`, of which every program has one."""
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name not in ("Config", "Parts")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_names_say_what_they_name():
    """`beside` is a flag of a search, `together` one of a sweep."""
    bad = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for name in names_of(ast.parse(path.read_text()))
        if name.strip("_") in VAGUE
        and (path.stem, name) not in (("search", "beside"), ("sweep", "together"))
    ]
    assert bad == []


def test_coordinates_carry_their_frame():
    """Of what is answered and reported: pixels of a file, voxels of a prepared image, or mm."""
    bad = [
        f"{path.name}: {node.target.id}"
        for path in FILES
        if path.is_relative_to(ROOT / "medjax" / "outputs")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if re.search("points|true|starts", node.target.id)
        and not re.search("_(px|vox|mm)$", node.target.id)
    ]
    assert bad == []
