"""One command for every program: `medjax classify`, `medjax share`, ...

The programs are imported only when they are asked for, so that `medjax --help` needs no JAX.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import medjax
from medjax import app
from medjax.errors import UserError, unknown


class Program(NamedTuple):
    """A program: the module that has its `Config` and `main`, and what it does."""

    module: str
    summary: str


PROGRAMS = {
    "classify": Program("medjax.experiments.classify", "train a classifier of images or volumes"),
    "heatmap": Program("medjax.experiments.heatmap", "train a network that finds landmarks"),
    "search": Program("medjax.experiments.search", "train agents that search for landmarks"),
    "temporal": Program("medjax.experiments.temporal", "train a network that finds key frames"),
    "segment": Program("medjax.experiments.segment", "train a network that segments images"),
    "detect": Program("medjax.experiments.detect", "train a network that detects things in boxes"),
    "register": Program("medjax.experiments.register", "align images in pairs"),
    "transfer": Program("medjax.experiments.transfer", "measure what pre-trained weights add"),
    "pretrain": Program("medjax.experiments.pretrain", "train a network without labels"),
    "retrieve": Program("medjax.experiments.retrieve", "find the cases that look like one"),
    "predict": Program("medjax.tools.predict", "use a shared network on your own images"),
    "share": Program("medjax.tools.share", "make, verify and show bundles of trained networks"),
    "index": Program("medjax.tools.index", "find cases that look like an image, in your own files"),
    "compare": Program("medjax.tools.compare", "compare runs on the same cases, with intervals"),
    "report": Program("medjax.tools.report", "write the page of a run again, finished or not"),
    "sweep": Program("medjax.launch.sweep", "run one experiment with many settings"),
    "datasets": Program("medjax.tools.datasets", "list the sets of images"),
    "models": Program("medjax.tools.models", "list the networks"),
    "build": Program("medjax.tools.build", "compile fast convolutions for this CPU, once"),
    "cache": Program("medjax.tools.cache", "list and empty what is kept between runs"),
    "sononet": Program("medjax.experiments.sononet", "fetal standard planes, published weights"),
}


def load_program(name: str) -> Any:
    """The module of the program `name`; `experiments.classify` is `classify` too.

    Raises:
      UserError: if there is no such program.
    """
    name = name.removeprefix("experiments.")
    if name not in PROGRAMS:
        raise unknown("command", name, PROGRAMS)
    module = PROGRAMS[name].module
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:  # in a checkout that is not installed they stand beside medjax
        if e.name not in ("medjax.experiments", "medjax.launch"):
            raise
        return importlib.import_module(module.removeprefix("medjax."))


def describe_programs() -> str:
    """What `medjax --help` prints."""
    lines = [f"  {name:<10} {program.summary}" for name, program in PROGRAMS.items()]
    return "\n".join(
        [
            "medjax: a research library for medical images in JAX",
            "",
            "  medjax COMMAND [--flag=value ...]",
            "  medjax classify MY_IMAGES      a folder with one folder a class, or a table",
            "",
            *lines,
            "",
            "medjax COMMAND --help shows its flags; medjax --version the version.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the program that the first argument names; the console command `medjax`."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("--help", "-h", "help", "--helpfull"):
        print(describe_programs())
        return
    if name in ("--version", "version"):
        print(f"medjax {medjax.__version__}")
        return
    try:
        program = load_program(name)
    except UserError as e:
        print(f"error: {e}; `medjax --help` lists all", file=sys.stderr)
        sys.exit(2)
    app.run(program.main, program.Config, [f"medjax {name}", *rest])


if __name__ == "__main__":
    main()
