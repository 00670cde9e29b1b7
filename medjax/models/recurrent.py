"""Networks over time: features of every frame, then a recurrence, then an answer a frame."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.ops import sequence
from medjax.typing import Array, Tree

RECURRENCES = ("lstm", "gru", "bilstm", "convlstm", "tcn", "none")
WARM_UP = 32  # frames after which a recurrence has about forgotten what was before
STREAMED = ("lstm", "gru", "convlstm", "none")  # those that never look ahead


class ConvLSTMCell(nn.RNNCellBase):
    """LSTM whose products are convolutions (Shi et al. 2015, equation 3, without peepholes)."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, carry: tuple[Array, Array], x: Array):  # [batch, *space, channel]
        cell, hidden = carry
        gates = blocks.Conv(4 * self.features, use_bias=True, dtype=self.dtype, name="gates")(
            jnp.concatenate([x, hidden], -1)
        )
        i, f, o, new = jnp.split(gates, 4, -1)
        cell = nn.sigmoid(f + 1.0) * cell + nn.sigmoid(i) * nn.tanh(new)  # it remembers at first
        hidden = nn.sigmoid(o) * nn.tanh(cell)
        return (cell, hidden), hidden

    def initialize_carry(self, rng: Array, input_shape: tuple[int, ...]):
        zeros = jnp.zeros((*input_shape[:-1], self.features), self.dtype)
        return zeros, zeros

    @property
    def num_feature_axes(self) -> int:
        return 3


class TemporalConvolutions(nn.Module):
    """Residual convolutions over time, their steps 1, 2, 4 and 8 (Bai et al. 2018, not causal)."""

    features: int
    steps: tuple[int, ...] = (1, 2, 4, 8)

    @nn.compact
    def __call__(self, x: Array, length: Array) -> Array:  # [batch, time, feature]
        size = x.shape[1]
        mask = jax.vmap(lambda n: sequence.valid(n, size=size))(length)[..., None]
        x = nn.Dense(self.features, name="into")(x) * mask
        for step in self.steps:
            pad = jnp.pad(x, ((0, 0), (step, step), (0, 0)))
            around = jnp.concatenate([pad[:, : -2 * step], x, pad[:, 2 * step :]], -1)
            x = x + nn.relu(nn.Dense(self.features, name=f"step{step}")(around)) * mask
        return x


class FrameNetwork(nn.Module):
    """`[batch, time, height, width, channel]` and lengths `[batch]` to `[batch, time, outputs]`.

    Padding never changes an answer: every recurrence ends, or begins backwards, at the length.

    Attributes:
      encoder: of frames `[n, height, width, channel]` to features `[n, feature]`; of `convlstm` to
        maps.
      recurrence: one of `RECURRENCES`.
      hidden: features of the recurrence.
      outputs: numbers an answer.
      remat: frees the encoder's activations and computes them again for the gradient.
    """

    encoder: nn.Module
    recurrence: str = "lstm"
    hidden: int = 64
    outputs: int = 1
    remat: bool = False

    def setup(self) -> None:
        cells: dict[str, Callable[[], Any]] = {
            "lstm": lambda: nn.OptimizedLSTMCell(self.hidden),
            "gru": lambda: nn.GRUCell(self.hidden),
            "convlstm": lambda: ConvLSTMCell(self.hidden),
        }
        if self.recurrence in cells:
            self.cell = cells[self.recurrence]()
            self.recurrent = nn.RNN(self.cell)
        elif self.recurrence == "bilstm":
            self.recurrent = nn.Bidirectional(  # type: ignore[assignment]
                nn.RNN(nn.OptimizedLSTMCell(self.hidden // 2)),
                nn.RNN(nn.OptimizedLSTMCell(self.hidden // 2)),
            )
        elif self.recurrence == "tcn":
            self.convolutions = TemporalConvolutions(self.hidden)
        else:
            self.dense = nn.Dense(self.hidden)
        self.head = nn.Dense(self.outputs)

    def __call__(self, frames: Array, length: Array, *, train: bool, cyclic: bool = False) -> Array:
        features = self.encode(frames, train=train)
        size = features.shape[1]
        if cyclic:  # where a cycle is cut shall not matter
            reach, most = self._reach(length, size)
            longer = jax.vmap(lambda x, n, r: sequence.unrolled(x, n, r, size=size + 2 * most))(
                features, length, reach
            )
            sequence_features = jax.vmap(lambda x, r: sequence.inner(x, r, size=size))(
                self._over_time(longer, length + 2 * reach), reach
            )
        else:
            sequence_features = self._over_time(features, length)
        return self._answer(sequence_features, features)

    def _reach(self, length: Array, size: int) -> tuple[Array, int]:
        """How many frames about it an answer depends on: of each sequence, and at most.

        A recurrence forgets its beginning only in time: it has whole cycles, `WARM_UP` frames or
        more of them.
        """
        if self.recurrence in ("tcn", "none"):
            most = sum(self.convolutions.steps) if self.recurrence == "tcn" else 0
            return jnp.full_like(length, most), most
        return length * -(-WARM_UP // length), WARM_UP + size

    def encode(self, frames: Array, *, train: bool) -> Array:
        """The features of every frame: `[batch, time, ...]`."""
        flat = frames.reshape(-1, *frames.shape[2:])

        def run(module: "FrameNetwork", x: Array) -> Array:
            return module.encoder(x, train=train)

        features = (nn.remat(run) if self.remat else run)(self, flat)
        return nn.relu(features).astype(jnp.float32).reshape(*frames.shape[:2], *features.shape[1:])

    def _over_time(self, x: Array, length: Array) -> Array:
        if self.recurrence == "tcn":
            return self.convolutions(x, length)
        if self.recurrence == "none":
            return nn.relu(self.dense(x))
        hidden: Any = self.recurrent(x, seq_lengths=length)
        return hidden

    def _answer(self, hidden: Array, features: Array) -> Array:
        """From what was found over time and, past the recurrence, from the frame itself."""
        both = jnp.concatenate([hidden, features], -1)
        return self.head(both.mean((-3, -2)) if self.recurrence == "convlstm" else both)

    def begin(self, batch: int, frame: Array) -> Any:
        """The state before the first of frames like `frame` `[height, width, channel]`."""
        if self.recurrence == "none":
            return ()
        shape = self.encode(jnp.zeros((batch, 1, *frame.shape)), train=False).shape
        return self.cell.initialize_carry(jax.random.key(0), (batch, *shape[2:]))

    def step(self, carry: Tree, frames: Array) -> tuple[Any, Array]:
        """One frame of every sequence, `[batch, height, width, channel]`: state and answers."""
        features = self.encode(frames[:, None], train=False)[:, 0]
        if self.recurrence == "none":
            return (), self._answer(nn.relu(self.dense(features)), features)
        carry, hidden = self.cell(carry, features)
        return carry, self._answer(hidden, features)
