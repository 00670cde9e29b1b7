"""Checkpoints by orbax, verified: a flipped byte is found, and the newest whole one is read.

orbax itself loads a damaged file without an error, so a crc32 of every leaf is stored beside, and
one of what stands beside.
"""

import functools
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.errors import UserError, first_line
from medjax.train import mesh
from medjax.typing import Tree


class Checkpoints:
    """The checkpoints of one run: the newest `keep` and the best by a score, written aside.

    Which one is best is read from what is verified: orbax keeps scores in files of their own, where
    a flipped digit goes unseen.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        read_only: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ):
        import orbax.checkpoint as ocp  # seconds of import: not for --help

        self._args = ocp.args
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=(ocp.CheckpointManagerOptions(cleanup_tmp_directories=not read_only)),
        )
        self._folder, self._say, self._read_only, self._keep = folder, say, read_only, keep
        self._scores: dict[int, float] = {}
        self._damaged: list[int] = []  # newer than what was read
        self._unknown: list[tuple[int, str]] = []  # steps whose score cannot be read, and why
        for step in self._manager.all_steps():
            try:
                self._scores[step] = _score(self._meta(step))
            except Exception as e:
                self._unknown.append((step, first_line(e)))

    def save(self, step: int, state: Tree, *, score: float, meta: Mapping[str, Any]) -> None:
        """Writes `state` while training goes on. A step that is there already is left."""
        if step in self._manager.all_steps() and step not in self._damaged:
            return
        for late in self._damaged:  # only now: what could not be read may have been whole
            self._write(functools.partial(self._manager.delete, late))
            self._scores.pop(late, None)
        self._damaged = []
        self._prune()
        host = mesh.on_host(state)  # safe against donation, and what the sums are taken of
        record = {**meta, "score": score if np.isfinite(score) else None, "crc32": _sums(host)}
        items = self._args.Composite(
            state=self._args.StandardSave(state),
            meta=self._args.JsonSave({**record, "check": _check(record)}),
        )
        self._write(lambda: self._manager.save(step, args=items))
        self._scores[step] = _score(record)

    def _prune(self) -> None:
        """Makes room for one more: the newest, the best and what nobody can read stay."""
        self.wait()
        steps = sorted(self._manager.all_steps())
        kept = {*steps[-max(self._keep - 1, 1) :], *([self._best()] if self._scores else [])}
        for step in set(steps) & set(self._scores) - kept:
            self._write(functools.partial(self._manager.delete, step))
            del self._scores[step]

    def _best(self) -> int:
        return max(self._scores, key=lambda step: (self._scores[step], step))

    def wait(self) -> None:
        """Returns when all that was saved is on the disk."""
        self._write(self._manager.wait_until_finished)

    def close(self) -> None:
        self._write(self._manager.close)

    def _write(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as e:  # orbax, tensorstore and the system each have their own
            full = "RESOURCE_EXHAUSTED" in str(e) or "No space left" in str(e)
            raise UserError(
                f"could not write a checkpoint in {self._folder}: "
                f"{'the disk is full' if full else first_line(e)}; make room or "
                "choose another `workdir`; the checkpoints before are kept"
            ) from e

    def newest(self, abstract: Tree) -> tuple[Any, dict] | None:
        """The newest whole checkpoint as (state, meta), or None where there is none.

        Damaged ones are told of; once an older one was read and training has gone on to the next,
        they are removed, so that their steps can be saved again. Processes read the same one.

        Args:
          abstract: shapes, dtypes and shardings of the state.

        Raises:
          UserError: if there are checkpoints, but none can be read; all are left as they are.
        """
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._read(step, abstract)
            except Exception as e:
                self._say(f"checkpoint {step} is damaged ({first_line(e)}); trying an older one")
                damaged.append(step)
                continue
            self._damaged = damaged
            return state
        if damaged:
            raise UserError(
                f"none of the checkpoints {damaged} in {self._folder} can be read; "
                "written by another version? choose another `workdir`"
            )
        return None

    def best(self, abstract: Tree) -> tuple[Any, dict]:
        """The checkpoint with the highest score as (state, meta).

        Raises:
          UserError: if there is none, or it is damaged and no other is whole.
        """
        for step, why in self._unknown:
            self._say(f"checkpoint {step}, which may be the best, is damaged ({why})")
        if self._scores:
            step = self._best()
            try:
                return self._read(step, abstract)
            except Exception as e:
                self._say(
                    f"the best checkpoint, {step}, is damaged ({first_line(e)}); "
                    "using the newest whole one"
                )
        newest = self.newest(abstract)
        if newest is None:
            raise UserError(f"no whole checkpoint in {self._folder}; train first")
        return newest

    def _read(self, step: int, abstract: Tree) -> tuple[Any, dict]:
        def load() -> tuple[Any, dict]:
            return self._manager.restore(
                step, args=self._args.Composite(state=self._args.StandardRestore(abstract))
            ).state, self._meta(step)

        def compare() -> None:
            for name, value in meta["crc32"].items():
                if sums.get(name) != value:
                    raise ValueError(f"checksum of {name} differs")

        state, meta = mesh.all_or_none(load)
        sums = _sums(mesh.on_host(state))
        mesh.all_or_none(compare)
        return state, meta

    def _meta(self, step: int) -> dict:
        """What was saved beside the state, verified."""
        meta = self._manager.restore(
            step, args=self._args.Composite(meta=self._args.JsonRestore())
        ).meta
        if meta.pop("check") != _check(meta):
            raise ValueError("checksum of its description differs")
        return meta


def _score(meta: Mapping[str, Any]) -> float:
    """Undefined counts as lowest."""
    return -np.inf if meta["score"] is None else float(meta["score"])


def _check(meta: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _sums(tree: Tree) -> dict[str, int]:
    """The crc32 of every leaf, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).tobytes())
        for path, leaf in leaves
    }
