"""What a sweep runs: the flags of each run, and which runs are one program."""

import itertools
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from medjax import app
from medjax.__main__ import load_program
from medjax.errors import UserError
from medjax.run_options import ALL_FOLDS, FoldOptions

Point = dict[str, str]  # the flags of one run
# Settings that one program can have several of, and the flag that takes them.
_MANY = {"learning_rate": "learning_rates", "weight_decay": "weight_decays"}


def parse(flags: Sequence[str]) -> dict[str, list[str]]:
    """The values of each flag, in the order given."""
    values: dict[str, list[str]] = {}
    for flag in flags:
        name, equal, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not equal:
            raise UserError(f"{flag!r}: flags are given as --name=value")
        if not value.isprintable():  # a line of a file of commands would become two
            raise UserError(f"--{name}={value!r}: has control characters; leave them out")
        if name in ("workdir", "seeds", *_MANY.values()):
            raise UserError(
                f"--{name}: the sweep gives it; for several seeds, rates or decays "
                "give --seed, --learning_rate or --weight_decay several times"
            )
        values.setdefault(name, []).append(value)
    if not values:
        raise UserError("give flags of the experiment, those to vary several times")
    return values


def check(experiment: str, points: Sequence[Point]) -> None:
    """Raises UserError unless the experiment takes the flags of every run, as they stand
    together."""
    module = load_program(experiment)
    for point in points:
        app.parse(module.Config, [experiment, *as_flags(point)], experiment)


def as_flags(point: Point) -> list[str]:
    return [f"--{name}={value}" for name, value in point.items()]


def is_range(value: str) -> bool:
    """`1e-4~1e-2`, but not a path such as `~/images`."""
    return "~" in value and "/" not in value


def grid(values: Mapping[str, Sequence[str]]) -> Iterator[Point]:
    """All combinations."""
    ranged = next((name for name, given in values.items() if any(map(is_range, given))), None)
    if ranged is not None:
        raise UserError(f"--{ranged}: a range is for --random=N")
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def drawn(values: Mapping[str, Sequence[str]], *, count: int, seed: int) -> list[Point]:
    """So many combinations at random, none twice; every seed that is given is run with each."""
    rng = np.random.default_rng(seed)
    others = {name: given for name, given in values.items() if name != "seed"}
    points: list[Point] = []
    for _ in range(100 * count):
        point = {name: value(rng, str(rng.choice(list(given)))) for name, given in others.items()}
        if len(points) < count and point not in points:
            points.append(point)
    return [
        {**point, **({"seed": s} if s else {})}
        for point in points
        for s in values.get("seed", [""])
    ]


def value(rng: np.random.Generator, given: str) -> str:
    """A value, or one from the range that it is."""
    if not is_range(given):
        return given
    low, _, high = given.partition("~")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UserError(f"{given!r}: a range is of two numbers, as 1e-4~1e-2") from None
    if not 0 < ends[0] < ends[1]:
        raise UserError(f"{given!r}: a range goes from a positive number to a larger one")
    return f"{np.exp(rng.uniform(*np.log(ends))):.3g}"


def merge_seeds(points: Sequence[Point]) -> list[Point]:
    """Runs that differ in the seed alone, and whose seeds follow one another, as one."""
    out: list[Point] = []
    for group in _alike_but(("seed",), points):
        seeds = sorted({int(p["seed"]) for p in group if "seed" in p})
        if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
            out.append({**group[0], "seed": str(seeds[0]), "seeds": str(len(seeds))})
        else:
            out += group
    return out


def merge_rates(points: Sequence[Point], *, at_most: int) -> list[Point]:
    """Runs that differ in learning rate and weight decay alone as one, at most so many in each;
    but not those of all folds, of which each fold might choose another."""
    parts = []
    for group in _alike_but(_MANY, points):
        first = group[0]
        folds = FoldOptions(int(first.get("folds", 0)), first.get("fold", ALL_FOLDS))
        size = 1 if folds.runs_all else at_most
        parts += [group[i : i + size] for i in range(0, len(group), size)]
    return [
        part[0]
        if len(part) == 1
        else {
            **{k: v for k, v in part[0].items() if k not in _MANY},
            **{
                many: ",".join(p[single] for p in part)
                for single, many in _MANY.items()
                if single in part[0]
            },
        }
        for part in parts
    ]


def _alike_but(names: Collection[str], points: Sequence[Point]) -> list[list[Point]]:
    """The runs in groups that differ in these flags alone."""
    groups: dict[tuple, list[Point]] = {}
    for point in points:
        key = tuple((k, v) for k, v in point.items() if k not in names)
        groups.setdefault(key, []).append(point)
    return list(groups.values())


def named(points: Sequence[Point], varied: Sequence[str]) -> dict[str, Point]:
    """Each run by the name of its folder."""
    runs: dict[str, Point] = {}
    for point in points:
        name = plain = name_of(point, varied)
        for number in itertools.count(2):
            if name not in runs:
                break
            name = f"{plain}__{number}"
        runs[name] = point
    return runs


def name_of(point: Point, varied: Sequence[str]) -> str:
    """Of the folder of a run: what is special about it."""
    parts = [
        f"{name}-{'+'.join(values if len(set(values)) > 1 else values[:1])}"
        for name in varied
        if any(values := values_of_flag(point, name))
    ]
    text = "_".join(parts) or "run"
    clean = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in text)
    return clean if len(clean) <= 150 else f"{clean[:140]}_{zlib.crc32(text.encode()):08x}"


def values_of_flag(point: Point, name: str) -> list[str]:
    """The values that a run has of a flag: of a program of several settings, one of each; empty
    where it is not given."""
    if name == "seed" and "seeds" in point:
        return [f"{point['seed']}..{int(point['seed']) + int(point['seeds']) - 1}"]
    given = point.get(name, "")
    return point.get(_MANY[name], given).split(",") if name in _MANY else [given]
