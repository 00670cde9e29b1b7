"""Checkpoints by orbax, verified: a flipped byte is found, and the newest whole one is read.

orbax itself loads a damaged file without an error, so a crc32 of every leaf is stored beside.
"""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.errors import UserError
from medjax.train import mesh


class Checkpoints:
    """The checkpoints of one run: the newest `keep` and the best by a score, written aside."""

    def __init__(self, folder: Path, *, keep: int = 2, read_only: bool = False,
                 say: Callable[[str], None] = lambda line: None):
        import orbax.checkpoint as ocp  # seconds of import: not for --help

        policy = ocp.checkpoint_managers
        options = ocp.CheckpointManagerOptions(
            best_fn=_score, best_mode="max", cleanup_tmp_directories=not read_only,
            preservation_policy=policy.AnyPreservationPolicy([
                policy.LatestN(keep), policy.BestN(get_metric_fn=_score, n=1)]))
        self._args = ocp.args
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)
        self._folder, self._say, self._read_only = folder, say, read_only

    def save(self, step: int, state: Any, *, score: float, meta: Mapping[str, Any]) -> None:
        """Writes `state` while training goes on. A step that is there already is left."""
        if step in self._manager.all_steps():
            return
        host = mesh.on_host(state)  # safe against donation, and what the sums are taken of
        items = self._args.Composite(
            state=self._args.StandardSave(state),
            meta=self._args.JsonSave({**meta, "crc32": _sums(host)}))
        self._write(lambda: self._manager.save(
            step, args=items, metrics={"score": score if np.isfinite(score) else None}))

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
            raise UserError(f"could not write a checkpoint in {self._folder}: "
                            f"{'the disk is full' if full else _first_line(e)}; make room or "
                            "choose another --workdir; the checkpoints before are kept") from e

    def newest(self, abstract: Any) -> tuple[Any, dict] | None:
        """The newest whole checkpoint as (state, meta), or None where there is none.

        Damaged ones are told of; once an older one was read they are removed, so that their steps
        can be saved again.

        Args:
          abstract: shapes, dtypes and shardings of the state.

        Raises:
          UserError: if there are checkpoints, but none can be read; all are left as they are.
        """
        damaged: list[int] = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._read(step, abstract)
            except Exception as e:
                self._say(f"checkpoint {step} is damaged ({_first_line(e)}); trying an older one")
                damaged.append(step)
                continue
            if not self._read_only:
                for late in damaged:
                    self._manager.delete(late)
            return found
        if damaged:
            raise UserError(f"none of the checkpoints {damaged} in {self._folder} can be read; "
                            "written by another version? choose another --workdir")
        return None

    def best(self, abstract: Any) -> tuple[Any, dict]:
        """The checkpoint with the highest score as (state, meta).

        Raises:
          UserError: if there is none, or it is damaged and no other is whole.
        """
        step = self._manager.best_step()
        if step is not None:
            try:
                return self._read(step, abstract)
            except Exception as e:
                self._say(f"the best checkpoint, {step}, is damaged ({_first_line(e)}); "
                          "using the newest whole one")
        found = self.newest(abstract)
        if found is None:
            raise UserError(f"no whole checkpoint in {self._folder}; train first")
        return found

    def _read(self, step: int, abstract: Any) -> tuple[Any, dict]:
        items = self._args.Composite(
            state=self._args.StandardRestore(abstract), meta=self._args.JsonRestore())
        found = self._manager.restore(step, args=items)
        sums = _sums(mesh.on_host(found.state))
        for name, value in found.meta["crc32"].items():
            if sums.get(name) != value:
                raise ValueError(f"checksum of {name} differs")
        return found.state, found.meta


def _score(metrics: Mapping[str, Any]) -> float:
    """orbax drops the best checkpoint for one whose score is NaN; undefined counts as lowest."""
    score = metrics.get("score")
    return -np.inf if score is None else float(score)


def _sums(tree: Any) -> dict[str, int]:
    """The crc32 of every leaf, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).tobytes())
            for path, leaf in leaves}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
