"""A tree above the classes: which to train on, and what they say of the coarse ones at its top."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medjax.data import table
from medjax.errors import UserError, unknown

_COLUMNS = ("child", "parent")


class Taxonomy(NamedTuple):
    """A forest; what has no parent is a coarse class.

    Attributes:
      parent: of each name that has one.
      source: the file, for messages.
      alone: coarse classes with none below them.
    """

    parent: Mapping[str, str]
    source: str = "taxonomy"
    alone: tuple[str, ...] = ()

    @property
    def children(self) -> dict[str, list[str]]:
        """Of each name that has some, in their order."""
        out: dict[str, list[str]] = {}
        for child, parent in self.parent.items():
            out.setdefault(parent, []).append(child)
        return out

    def ancestors(self, name: str) -> list[str]:
        """The name itself, its parent, and so on to the top."""
        line = [name]
        while line[-1] in self.parent:
            line.append(self.parent[line[-1]])
        return line

    def top(self, name: str) -> str:
        """The coarse class of a name."""
        return self.ancestors(name)[-1]


def read_taxonomy(path: Path) -> Taxonomy:
    """A CSV file with the columns child and parent.

    Raises:
      UserError: if it is none, a name has two parents, or is above itself.
    """
    parent, tops = dict[str, str](), dict[str, None]()
    for row in table.read_rows(path):
        for column in _COLUMNS:
            if column not in row:
                raise unknown(f"column of {path}", column, row)
        child, above = (table.tidy(row[column]) for column in _COLUMNS)
        if not child:
            raise UserError(f"{row.origin}: the child has no name")
        if not above:
            tops[child] = None
            continue
        if parent.setdefault(child, above) != above:
            raise UserError(f"{row.origin}: {child!r} has two parents, {parent[child]!r} too")
    _check_acyclic(parent, path)
    inner = {*parent, *parent.values()}
    return Taxonomy(parent, str(path), tuple(name for name in tops if name not in inner))


def _check_acyclic(parent: Mapping[str, str], path: Path) -> None:
    for name in parent:
        line = [name]
        while line[-1] in parent:
            line.append(parent[line[-1]])
            if line[-1] == name:
                raise UserError(f"{path}: a cycle: {' under '.join(line)}; a tree has none")
            if len(line) > len(parent) + 1:
                break  # it leads into the cycle of another name


def add_leaves(taxonomy: Taxonomy, labels: Iterable[tuple[str, ...]]) -> Taxonomy:
    """With a leaf for each label of several parts, as (mel, back), under that of its first ones.

    Raises:
      UserError: for a first part that the tree does not know, or that is no leaf of it.
    """
    parent, inner = dict(taxonomy.parent), set(taxonomy.parent.values())
    known = inner | set(parent) | set(taxonomy.alone)
    for parts in labels:
        if parts[0] not in known:
            raise unknown(f"class of {taxonomy.source}", parts[0], known)
        if parts[0] in inner:
            raise UserError(
                f"{taxonomy.source}: {parts[0]!r} is the class of an image, but no leaf: give a "
                "leaf below it to such images"
            )
        for depth in range(1, len(parts)):
            parent[join(parts[: depth + 1])] = join(parts[:depth])
    return taxonomy._replace(parent=parent)


def join(parts: Sequence[str]) -> str:
    """The name of a label of several parts."""
    return " / ".join(parts)


def partition(
    taxonomy: Taxonomy, counts: Mapping[str, int], *, most: int
) -> tuple[dict[str, str], list[str]]:
    """The class of each leaf, and the leaves whose class has more images than wished.

    From the top down, a name with at most so many images becomes a class with all that is below
    it; else its children are asked. Esteva et al., Dermatologist-level classification of skin
    cancer with deep neural networks (Nature 2017), supplementary algorithm 1.

    Args:
      counts: training images of each leaf.
      most: images of a class.
    """
    children, class_of = taxonomy.children, {}
    below: Counter[str] = Counter()
    for leaf, count in counts.items():
        for name in taxonomy.ancestors(leaf):
            below[name] += count

    def leaves(name: str) -> list[str]:
        under = children.get(name, [])
        return [x for child in under for x in leaves(child)] if under else [name]

    def visit(name: str) -> None:
        if below[name] <= most or name not in children:
            class_of.update(dict.fromkeys(leaves(name), name))
        else:
            for child in children[name]:
                visit(child)

    for name in dict.fromkeys(taxonomy.top(leaf) for leaf in counts):
        visit(name)
    large = [x for x in dict.fromkeys(class_of.values()) if x not in children and below[x] > most]
    return {leaf: class_of[leaf] for leaf in counts}, large
