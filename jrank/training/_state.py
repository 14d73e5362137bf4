"""Training state on disk. Every call of Orbax stands in this file, and Orbax is imported only when it is needed.

A directory holds ``last/<step>`` (parameters, optimiser, the loop's own record) and ``best/<step>`` (parameters alone).
Orbax writes each under a temporary name and renames it, so a state is whole or not there. The last is written before
the best: whatever instant a process dies at, the best that the last state speaks of is either that very state or stands
in ``best``.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jrank.errors import TrainError
from jrank.files import ensure_directory

__all__ = ["Store", "describe_callable", "describe_data", "describe_tree"]

FORMAT = 1


class Store:
    """The last and the best state of one training run.

    Args:
      directory: where the states stand; made if it is missing.
      config: what makes this run this run, as JSON values; a directory with another is refused.
    """

    def __init__(self, directory: str | os.PathLike, config: Mapping[str, Any]):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._place = ensure_directory(Path(directory).absolute())
        self._config = json.loads(json.dumps(config))

        def manager(name: str) -> Any:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=1, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
            )
            return ocp.CheckpointManager(self._place / name, options=options)

        self._last = manager("last")
        self._best = manager("best")

    def close(self) -> None:
        """Release what Orbax holds."""
        self._last.close()
        self._best.close()

    def save_last(self, state: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write the state after a step.

        Args:
          state: the loop's state with "params", "optimizer", "step".
          record: what else the loop must remember, as JSON values.
        """
        step = int(state["step"])
        if self._last.latest_step() == step:
            return
        args = self._ocp.args
        head = {"format": FORMAT, "config": self._config, "record": record}
        self._last.save(
            step, args=args.Composite(arrays=args.StandardSave(_flat(state)), loop=args.JsonSave(head)), force=True
        )
        self._last.wait_until_finished()

    def save_best(self, step: int, params: Any) -> None:
        """Write the best parameters so far; call it after ``save_last`` of the same step.

        Args:
          step: the step that they were reached at.
          params: the parameters.
        """
        if step in self._best.all_steps():
            self._best.delete(step)  # of an earlier life of this run, which went on beyond its last state
        args = self._ocp.args
        self._best.save(step, args=args.Composite(arrays=args.StandardSave(_flat({"params": params}))), force=True)
        self._best.wait_until_finished()

    def load(self, like: Mapping[str, Any]) -> tuple[Any, dict[str, Any], Any] | None:
        """Read the last whole state and the best parameters.

        Args:
          like: a state of the structure, shapes, types and placement to restore.

        Returns:
          The state, the loop's record, and the best parameters (None if none were measured); None for an empty
          directory.

        Raises:
          TrainError: the directory belongs to another configuration, or a state cannot be read.
        """
        step = self._last.latest_step()
        if step is None:
            return None
        args = self._ocp.args
        head = self._read(lambda: self._last.restore(step, args=args.Composite(loop=args.JsonRestore()))["loop"])
        self._check(head)
        state = self._restore(self._last, step, like)
        record = head["record"]
        best = None if record["best"] is None else record["best"][0]
        if best is None:
            params = None
        elif best == step:
            params = jax.tree.map(lambda leaf: leaf.copy(), state["params"])
        else:
            params = self._restore(self._best, best, {"params": like["params"]})["params"]
        return state, record, params

    def _restore(self, manager: Any, step: int, like: Mapping[str, Any]) -> Any:
        shapes = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for name, leaf in _flat(like).items()
        }
        args = self._ocp.args
        read = self._read(
            lambda: manager.restore(step, args=args.Composite(arrays=args.StandardRestore(shapes)))["arrays"]
        )
        return jax.tree.unflatten(jax.tree.structure(like), [read[name] for name in shapes])

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise TrainError(
                f"the training state in {self._place} cannot be read: {first}",
                reason="invalid_state",
                hint="remove the directory to start anew",
            ) from error

    def _check(self, head: Mapping[str, Any]) -> None:
        if head.get("format") != FORMAT:
            raise TrainError(
                f"the training state in {self._place} has format {head.get('format')}, expected {FORMAT}",
                reason="invalid_state",
                hint="remove the directory to start anew",
            )
        have, want = head["config"], self._config
        changed = sorted(key for key in {*have, *want} if have.get(key) != want.get(key))
        if changed:
            shown = ", ".join(f"{key}: {_short(have.get(key))} there, {_short(want.get(key))} here" for key in changed)
            raise TrainError(
                f"the training state in {self._place} is of another run ({shown})",
                reason="invalid_state",
                hint="name another directory, or remove this one to start anew",
            )


def _flat(tree: Any) -> dict[str, Any]:
    # Numbered, so that two paths that print alike stay apart.
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        f"{number:05d}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf
        for number, (path, leaf) in enumerate(leaves)
    }


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_tree(tree: Any) -> str:
    """Return a digest of the paths, shapes and types of a tree; the values do not count.

    Args:
      tree: any pytree of arrays.
    """
    lines = [f"{name} {leaf.shape} {leaf.dtype}" for name, leaf in _flat(tree).items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def describe_data(*arrays: Any) -> str:
    """Return a digest of arrays or strings, values included.

    Args:
      *arrays: NumPy arrays, strings, or None.
    """
    digest = hashlib.sha256()
    for item in arrays:
        if item is None or isinstance(item, str):
            digest.update(repr(item).encode())
        else:
            array = np.ascontiguousarray(item)
            # CRC-32 runs at memory speed: this tells data sets apart, it guards against no one.
            digest.update(f"{array.shape} {array.dtype} {zlib.crc32(array.tobytes())}".encode())
    return digest.hexdigest()[:16]


def describe_callable(fn: Any) -> str:
    """Return a name for a function that is the same in the next process.

    Args:
      fn: a function, a ``functools.partial``, or another callable.
    """
    if hasattr(fn, "func"):
        options = ", ".join(f"{key}={describe_callable(value)}" for key, value in sorted(fn.keywords.items()))
        return f"{describe_callable(fn.func)}({options})"
    if callable(fn):
        return f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
    return repr(fn)
