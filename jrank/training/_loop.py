"""The loop that every training function of jrank runs in."""

import math
import numbers
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jrank.errors import TrainError
from jrank.files import progress as show_progress
from jrank.sharding import refuse_explicit
from jrank.training._history import Best, FitResult, History
from jrank.training._state import Store, describe_tree
from jrank.training._step import adam_direction, compiled_step, first_state

__all__ = ["epoch_order", "fit"]


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of one epoch: a permutation that depends on the seed and the number of the epoch alone.

    Args:
      size: how many things to order.
      seed: the seed.
      epoch: the number of the epoch, from 0.

    Returns:
      The indices, ``[size]``.

    >>> sorted(epoch_order(4, seed=0, epoch=1).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng((seed, epoch)).permutation(size)


def fit(
    params: Any,
    loss_fn: Callable[..., Any],
    batches: Callable[[int], Any] | Sequence[Any],
    *,
    steps: int,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: float | int | Callable[[int], Any] | None = None,
    rate_scale: Any = 1.0,
    weight_decay: Any = 0.0,
    clip_norm: float | int | None = None,
    accumulate: int = 1,
    validate: Callable[[Any], Any] | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    mode: str = "max",
    seed: int = 0,
    mesh: Mesh | None = None,
    resume: Any = None,
    save_every: int | None = None,
    config: Mapping[str, Any] | None = None,
    progress: bool = True,
    description: str = "training",
) -> FitResult:
    r"""Minimise a loss by gradient steps, validated, stopped early, and continued after an interruption.

    Each step computes the gradient ``g`` of the batch, shrinks it to the norm ``clip_norm`` if it is longer, hands it
    to the optimiser, and moves

    .. math:: \theta \leftarrow \theta - \eta_s\, c\, (u(g) + \lambda \theta)

    with the learning rate at this step, the scale ``c`` and the weight decay of each parameter, and the optimiser's
    direction ``u``. With Adam's direction this is AdamW.

    Args:
      params: a pytree of floating arrays; it is copied, not changed.
      loss_fn: ``(params, batch, key)`` to a scalar loss, or to a loss and its weight (what a part of an accumulated
        batch counts). Pure; ``key`` depends on the seed and the step alone. It decides which types it computes in.
      batches: a function of the step (from 0) that returns a batch, a pytree of arrays; or a sequence of batches, gone
        through in an order drawn anew for each epoch. It must give the same batch for the same step if the run shall
        continue exactly after an interruption. Every new shape compiles once.
      steps: how many updates to make in all, those before an interruption included.
      optimizer: an optax transformation. With ``learning_rate`` it gives a direction, such as
        ``optax.scale_by_adam()``, the default; without, it is a finished one such as ``optax.adamw(1e-3)``.
      learning_rate: a number, or a function of the step such as ``warmup_schedule`` or an optax schedule. Another value
        compiles nothing anew. None with no ``optimizer`` is 1e-3.
      rate_scale: what the learning rate is multiplied by; a number, or a pytree of numbers like ``params`` or a prefix
        of it.
      weight_decay: decoupled weight decay, as ``rate_scale``.
      clip_norm: the longest norm of the whole gradient; None does not clip.
      accumulate: cut each batch along its first axis into so many parts, one after the other, for less memory.
      validate: a function of the parameters that returns a number. It must not keep them: the next step reuses their
        memory.
      validate_every: how many steps lie between validations; the last step is always validated. None is the length of a
        sequence of batches, and a tenth of all steps for a function.
      patience: stop after so many validations without improvement; None never stops early.
      mode: whether "max" or "min" is better.
      seed: orders the batches of a sequence and gives the keys.
      mesh: spread the first axis of each batch over all devices of the mesh; parameters are on every device.
      resume: a directory that the state is kept in, the last and the best. A run that finds a state continues from it,
        bit for bit as if it had never stopped; one of another configuration is refused.
      save_every: how many steps lie between states on disk; None is the same as ``validate_every``. An improved
        validation is always saved.
      config: JSON values that identify the run, besides the parameters' structure and the seed.
      progress: whether to show a bar on stderr.
      description: the words in front of the bar.

    Returns:
      The parameters (the best by validation, of equal ones the earliest; without validation the last) as ``model``, the
      history, and the best validation.

    Raises:
      TrainError: an option is out of range; the loss, the gradient or the metric is not finite (DIVERGED, naming the
        step); the directory holds a state of another run (INVALID_STATE).

    Numerics: with ``accumulate``, the gradient is the mean of the parts' gradients by weight, which equals that of the
    whole batch to rounding if the loss is a mean by that weight. A loss is looked at while the next step runs.
    Cost: besides parameters, gradient and optimiser state, one copy of the parameters for the best.

    >>> import jax.numpy as jnp
    >>> def loss_fn(params, batch, key):
    ...     return jnp.mean((params["w"] * batch["x"] - batch["y"]) ** 2)
    >>> batch = {"x": jnp.ones(4), "y": jnp.full(4, 3.0)}
    >>> result = fit({"w": jnp.zeros(())}, loss_fn, [batch], steps=200, learning_rate=0.1, progress=False)
    >>> round(float(result.model["w"]), 2), len(result.history)
    (3.0, 200)
    """
    _check_options(params, steps, accumulate, validate_every, save_every, patience, mode, clip_norm, validate)
    if optimizer is None and learning_rate is None:
        learning_rate = 1e-3
    scaled = learning_rate is not None
    if not scaled and not (_is_number(rate_scale, 1) and _is_number(weight_decay, 0)):
        raise TrainError(
            "rate_scale and weight_decay need a learning_rate",
            reason="invalid_parameter",
            hint="pass a direction such as optax.scale_by_adam() as optimizer, and learning_rate",
        )
    optimizer = adam_direction() if optimizer is None else optimizer
    rate_at: Callable[[int], Any] = learning_rate if callable(learning_rate) else lambda _: learning_rate
    batch_at, epoch_steps = _batch_source(batches, seed)
    validate_every = validate_every or epoch_steps or max(steps // 10, 1)
    save_every = save_every or validate_every

    place, spread = _placement(mesh, accumulate)
    state = place(first_state(params, optimizer))
    hyper = {
        "rate": np.float32(0),
        "clip": np.float32(np.inf if clip_norm is None else clip_norm),
        "decay": _like(weight_decay, params),
        "scale": _like(rate_scale, params),
    }
    key = jax.random.key(seed)
    run = _Run(mode, patience)

    store = None
    if resume is not None:
        shape = {"parameters": describe_tree(state["params"]), "optimizer": describe_tree(state["optimizer"])}
        store = Store(resume, {**shape, "seed": seed, "accumulate": accumulate, "mode": mode, **(config or {})})
    try:
        if store is not None and (found := store.load(state)) is not None:
            state, record, best_params = found
            run.restore(record, best_params)
        step_fn = compiled_step(loss_fn, optimizer, accumulate, scaled)
        start = int(state["step"])
        # A run that is over, and is asked for no more steps than it made, returns at once.
        todo = range(start, steps) if not run.stopped else range(0)
        for step in _closing(
            show_progress(todo, total=len(todo), description=description, enabled=progress and len(todo) > 0)
        ):
            rate = float(rate_at(step)) if scaled else None
            hyper["rate"] = np.float32(0 if rate is None else rate)
            state, loss, norm = step_fn(state, spread(batch_at(step)), key, hyper)
            run.settle()
            run.pending = (step + 1, rate, loss, norm)
            improved = False
            end = step + 1 == steps
            if validate is not None and (end or (step + 1) % validate_every == 0):
                run.settle()
                improved = run.judge(step + 1, float(validate(state["params"])))
                if improved:
                    run.best_params = jax.tree.map(lambda leaf: leaf.copy(), state["params"])
            if store is not None and (improved or run.stopped or end or (step + 1) % save_every == 0):
                run.settle()
                store.save_last(state, run.record())
                if improved:
                    store.save_best(step + 1, run.best_params)
            if run.stopped:
                break
        run.settle()
    finally:
        if store is not None:
            store.close()
    model = state["params"] if run.best is None else run.best_params
    return FitResult(model=model, history=run.history, best=run.best)


class _Run:
    """What the loop remembers besides the arrays."""

    def __init__(self, mode: str, patience: int | None):
        self.history = History()
        self.best: Best | None = None
        self.best_params: Any = None
        self.stale = 0
        self.stopped = False
        self.pending: tuple | None = None
        self._sign = 1 if mode == "max" else -1
        self._patience = patience
        self._began = time.perf_counter()

    def settle(self) -> None:
        """Look at the loss of the step before: by now the device has the next one to do."""
        if self.pending is None:
            return
        step, rate, loss, norm = self.pending
        self.pending = None
        loss, norm = float(loss), float(norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
            rate_text = "" if rate is None else f" (learning rate {rate:g})"
            raise TrainError(
                f"training diverged: {what} at step {step}{rate_text}",
                reason="diverged",
                hint="lower the learning rate, set clip_norm, or look for bad values in the data",
            )
        history = self.history
        history.step.append(step)
        history.loss.append(loss)
        history.metric.append(None)
        history.learning_rate.append(rate)
        history.grad_norm.append(norm)
        history.seconds.append(time.perf_counter() - self._began)

    def judge(self, step: int, metric: float) -> bool:
        if not math.isfinite(metric):
            raise TrainError(
                f"training diverged: the validation metric is {metric} at step {step}",
                reason="diverged",
                hint="lower the learning rate, or look for bad values in the validation data",
            )
        self.history.metric[-1] = metric
        if self.best is None or self._sign * (metric - self.best.metric) > 0:
            self.best, self.stale = Best(step, metric), 0
            return True
        self.stale += 1
        self.stopped = self._patience is not None and self.stale >= self._patience
        return False

    def record(self) -> dict[str, Any]:
        return {
            "history": self.history.to_dict(),
            "best": None if self.best is None else list(self.best),
            "stale": self.stale,
            "stopped": self.stopped,
        }

    def restore(self, record: dict[str, Any], best_params: Any) -> None:
        self.history = History.from_dict(record["history"])
        self.best = None if record["best"] is None else Best(*record["best"])
        self.best_params = best_params
        self.stale = record["stale"]
        self.stopped = record["stopped"]
        if self.history.seconds:
            self._began -= self.history.seconds[-1]


def _batch_source(batches: Any, seed: int) -> tuple[Callable[[int], Any], int | None]:
    if callable(batches):
        return batches, None
    if not len(batches):
        raise TrainError("there is no batch to train on", reason="empty_input")
    orders: dict[int, np.ndarray] = {}

    def batch_at(step: int) -> Any:
        epoch, place = divmod(step, len(batches))
        if epoch not in orders:
            orders.clear()
            orders[epoch] = epoch_order(len(batches), seed, epoch)
        return batches[int(orders[epoch][place])]

    return batch_at, len(batches)


def _placement(mesh: Mesh | None, accumulate: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    parts = accumulate
    if mesh is not None:
        refuse_explicit(mesh)
        parts *= mesh.size
        everywhere = NamedSharding(mesh, PartitionSpec())
        split = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    def check(batch: Any) -> Any:
        for leaf in jax.tree.leaves(batch):
            if parts > 1 and (np.ndim(leaf) == 0 or leaf.shape[0] % parts):
                raise TrainError(
                    f"a batch array of shape {np.shape(leaf)} cannot be cut into {parts} parts "
                    f"(accumulate={accumulate}{'' if mesh is None else f', {mesh.size} devices'})",
                    reason="invalid_parameter",
                    hint="make the first axis a multiple",
                )
        return batch

    if mesh is None:
        return lambda state: state, check
    return lambda state: jax.device_put(state, everywhere), lambda batch: jax.device_put(check(batch), split)


def _closing(items: Iterator[Any]) -> Iterator[Any]:
    # A bar that is left early must still be closed, or its line stays open.
    try:
        yield from items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _like(value: Any, params: Any) -> Any:
    return jax.tree.map(
        lambda number, branch: jax.tree.map(lambda _: np.float32(number), branch),
        value,
        params,
        is_leaf=lambda node: _is_number(node),
    )


def _is_number(value: Any, equal: float | int | None = None) -> bool:
    return isinstance(value, numbers.Real | np.ndarray | jax.Array) and (equal is None or bool(value == equal))


def _check_options(params, steps, accumulate, validate_every, save_every, patience, mode, clip_norm, validate) -> None:
    counts = {"steps": steps, "accumulate": accumulate}
    counts |= {"validate_every": validate_every, "save_every": save_every, "patience": patience}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise TrainError(f"{name} must be at least 1, got {value}", reason="invalid_parameter")
    if mode not in ("max", "min"):
        raise TrainError(f"mode must be 'max' or 'min', got {mode!r}", reason="invalid_parameter")
    if clip_norm is not None and not clip_norm > 0:
        raise TrainError(f"clip_norm must be positive, got {clip_norm}", reason="invalid_parameter")
    if patience is not None and validate is None:
        raise TrainError("patience needs something to validate with", reason="invalid_parameter", hint="pass validate=")
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise TrainError("there is no parameter to train", reason="empty_input")
    for leaf in leaves:
        if not hasattr(leaf, "dtype") or not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
            raise TypeError(f"parameters must be floating arrays, got {getattr(leaf, 'dtype', type(leaf).__name__)}")
