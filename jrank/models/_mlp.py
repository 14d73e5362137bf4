"""Rankers over feature vectors: a linear model or a small network, with the scaling of its inputs kept inside."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int, PRNGKeyArray, Real, Shaped

from jrank.errors import ModelError, require
from jrank.models._checkpoint import json_bytes, read_config, read_tensors, write_files
from jrank.models._config import ACTIVATIONS, read_field
from jrank.models._functions import place
from jrank.models._layers import activate, dense, drop, layer_norm, subkey
from jrank.models._shell import Shell
from jrank.types import Array, ArrayLike

__all__ = ["MLPRanker", "RankerConfig"]

MODEL_TYPE = "jrank-mlp"
EPS = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """The shape of a feature ranker.

    Args:
      features: width of its input.
      hidden: widths of its hidden layers; none for a linear model.
      activation: "relu", "gelu", "gelu_tanh" or "silu".
      normalize: layer normalisation after each hidden layer's affine map.
      dropout: of the hidden layers, in training.
      log1p: take ``sign(x) log(1 + |x|)`` of the inputs first, for counts and other long-tailed features.

    >>> RankerConfig(features=3, hidden=(8,)).activation
    'relu'
    """

    features: int
    hidden: tuple[int, ...] = (64, 32)
    activation: str = "relu"
    normalize: bool = True
    dropout: float = 0.0
    log1p: bool = False

    def __post_init__(self):
        if self.features < 1 or any(width < 1 for width in self.hidden):
            raise ModelError(
                f"features is {self.features} and hidden {self.hidden}, widths of at least 1 were expected",
                reason="invalid_config",
            )
        if self.activation not in ACTIVATIONS.values():
            raise ModelError(
                f"the activation {self.activation!r} is unknown",
                reason="invalid_config",
                hint=f"known are {', '.join(sorted(set(ACTIVATIONS.values())))}",
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ModelError(f"dropout is {self.dropout}, [0, 1) was expected", reason="invalid_config")


class Statistic(nnx.Variable):
    """A number about the inputs; it is kept with the model and not trained."""


class MLPRanker(Shell):
    r"""Scores items by their feature vectors, each item by itself.

    .. math:: s = w^\top h_L + b, \quad h_l = \phi(\mathrm{norm}(W_l h_{l-1} + b_l)), \quad h_0 = (x - \mu) / \sigma

    Args:
      features: width of its input.
      hidden: widths of its hidden layers; ``()`` for a linear model.
      activation: "relu", "gelu", "gelu_tanh" or "silu".
      normalize: layer normalisation after each hidden layer's affine map.
      dropout: of the hidden layers, in training.
      log1p: take ``sign(x) log(1 + |x|)`` of the inputs first.
      seed: of the parameters; equal seeds give equal parameters.

    Raises:
      ModelError: an option is out of range.

    >>> ranker = MLPRanker(3, hidden=(4,), seed=1)
    >>> ranker(jnp.ones((2, 5, 3))).shape
    (2, 5)
    """

    def __init__(
        self,
        features: int,
        hidden: tuple[int, ...] = (64, 32),
        *,
        activation: str = "relu",
        normalize: bool = True,
        dropout: float | int = 0.0,
        log1p: bool = False,
        seed: int = 0,
    ):
        config = RankerConfig(
            features=features,
            hidden=tuple(hidden),
            activation=activation,
            normalize=normalize,
            dropout=float(dropout),
            log1p=log1p,
        )
        super().__init__(_init(config, seed))
        self.config = config
        self.mean = Statistic(jnp.zeros(features))
        self.scale = Statistic(jnp.ones(features))

    def fit_inputs(
        self, features: Real[ArrayLike, "*batch f"], *, where: Bool[ArrayLike, "*batch"] | None = None
    ) -> "MLPRanker":
        """Return this model with its inputs scaled to mean 0 and deviation 1 over these items.

        Args:
          features: feature vectors of the training items.
          where: True at real items; None = all are.

        Returns:
          The model. A feature that is constant is only shifted.

        Raises:
          ModelError: there is no item, the width is another, or a real item has a value that is not finite.
        """
        x = np.asarray(features, np.float64).reshape(-1, self._width(features))
        if where is not None:
            x = x[np.asarray(where, bool).reshape(-1)]
        if not len(x):
            raise ModelError("there is no item to scale the inputs by", reason="invalid_input")
        if not np.isfinite(x).all():
            column = int(np.argwhere(~np.isfinite(x))[0, 1])
            raise ModelError(f"feature {column} has values that are not finite", reason="invalid_input")
        if self.config.log1p:
            x = np.sign(x) * np.log1p(np.abs(x))
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        copy = self.with_params(self.params)
        copy.mean = Statistic(jnp.asarray(mean, jnp.float32))
        # What is left of a constant feature is rounding, not a scale.
        constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1.0)
        copy.scale = Statistic(jnp.asarray(np.where(constant, 1.0, deviation), jnp.float32))
        return copy

    def apply(
        self,
        params: Any,
        features: Real[ArrayLike, "*batch f"],
        *,
        where: Bool[ArrayLike, "*batch"] | Int[ArrayLike, "*batch"] | None = None,
        key: PRNGKeyArray | Shaped[Array, "2"] | None = None,
    ) -> Float[Array, "*batch"]:
        """Scores as a pure function of the parameters: what training differentiates.

        Args:
          params: the parameters.
          features: feature vectors.
          where: True at real items; what stands elsewhere does not matter and scores 0.
          key: of the dropout; None for none.

        Returns:
          Scores, in the shape of ``features`` without its last axis; larger is better.

        Raises:
          ModelError: the width is another than the model's.

        Cost: O(n · (f · h₁ + h₁ · h₂ + …)) time.
        """
        self._width(features)
        x = jnp.asarray(features)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        real = None if where is None else jnp.asarray(where) != 0
        if real is not None:
            x = jnp.where(real[..., None], x, 0.0)
        if self.config.log1p:
            x = jnp.sign(x) * jnp.log1p(jnp.abs(x))
        row = (1,) * (x.ndim - 1) + (-1,)
        mean, scale = (jax.lax.stop_gradient(value[...]).astype(x.dtype) for value in (self.mean, self.scale))
        x = (x - mean.reshape(row)) / scale.reshape(row)
        for i, p in enumerate(params["layers"]):
            x = dense(p["dense"], x)
            if "norm" in p:
                x = layer_norm(p["norm"], x, EPS)
            x = drop(activate(x, self.config.activation), self.config.dropout, subkey(key, i))
        scores = dense(params["out"], x)[..., 0]
        return scores if real is None else jnp.where(real, scores, 0.0)

    def __call__(
        self,
        features: Real[ArrayLike, "*batch f"],
        where: Bool[ArrayLike, "*batch"] | Int[ArrayLike, "*batch"] | None = None,
    ) -> Float[Array, "*batch"]:
        """Scores of items, see ``apply``.

        Args:
          features: feature vectors.
          where: True at real items.
        """
        return self.apply(self.params, features, where=where)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the model as model.safetensors and config.json; equal models give equal bytes.

        Args:
          directory: where. A new one appears whole or not at all.

        Raises:
          ModelError: it cannot be written.
        """
        tensors = {".".join(map(str, path)): np.asarray(value, np.float32) for path, value in _flatten(self.params)}
        tensors |= {"input.mean": np.asarray(self.mean[...]), "input.scale": np.asarray(self.scale[...])}
        weights = require("safetensors.numpy", "").save(tensors, metadata={"format": "np"})
        config = {"model_type": MODEL_TYPE, **dataclasses.asdict(self.config)}
        write_files(directory, {"model.safetensors": weights, "config.json": json_bytes(config)})

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "MLPRanker":
        """Read a model that ``save`` wrote.

        Args:
          directory: where it stands.

        Raises:
          ModelError: a file is missing or broken, or belongs to another model.
        """
        directory = Path(directory)
        raw = read_config(directory)
        if raw.pop("model_type", None) != MODEL_TYPE:
            raise ModelError(f"{directory} does not hold a feature ranker", reason="invalid_config")
        try:
            hidden = tuple(int(width) for width in raw["hidden"])
        except (KeyError, TypeError, ValueError):
            raise ModelError(
                f"{directory}: config.json has no list of widths 'hidden'", reason="invalid_config"
            ) from None
        model = cls(
            read_field(raw, "features", int),
            hidden,
            activation=read_field(raw, "activation", str),
            normalize=read_field(raw, "normalize", bool),
            dropout=read_field(raw, "dropout", float),
            log1p=read_field(raw, "log1p", bool),
        )
        stored = read_tensors(directory)
        expected = {".".join(map(str, path)): value.shape for path, value in _flatten(model.params)}
        expected |= {"input.mean": (model.config.features,), "input.scale": (model.config.features,)}
        if {name: array.shape for name, array in stored.items()} != expected:
            raise ModelError(f"the tensors of {directory} do not fit its config.json", reason="invalid_weights")
        params: dict[str, Any] = {}
        for path, _ in _flatten(model.params):
            place(params, path, jnp.asarray(stored[".".join(map(str, path))]))
        params.setdefault("layers", [])
        model = model.with_params(params)
        model.mean = Statistic(jnp.asarray(stored["input.mean"]))
        model.scale = Statistic(jnp.asarray(stored["input.scale"]))
        return model

    def _width(self, features: Any) -> int:
        shape = np.shape(features)
        if not shape or shape[-1] != self.config.features:
            raise ModelError(
                f"the features have the shape {list(shape)}, {self.config.features} in the last axis were expected",
                reason="invalid_input",
            )
        return self.config.features


def _init(config: RankerConfig, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    layers, width = [], config.features
    for outputs in config.hidden:
        layer = {"dense": _dense(generator, width, outputs, 2.0)}
        if config.normalize:
            layer["norm"] = {"scale": jnp.ones(outputs), "bias": jnp.zeros(outputs)}
        layers.append(layer)
        width = outputs
    return {"layers": layers, "out": _dense(generator, width, 1, 1.0)}


def _dense(generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> dict[str, Array]:
    kernel = generator.standard_normal((inputs, outputs)) * np.sqrt(gain / inputs)
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(outputs)}


def _flatten(params: Any) -> list[tuple[tuple[str | int, ...], Any]]:
    """Paths as plain keys and indices, lists in order."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(tuple(step.key if hasattr(step, "key") else step.idx for step in path), leaf) for path, leaf in leaves]
