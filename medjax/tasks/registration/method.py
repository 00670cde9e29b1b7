"""How a pair is registered, as settings that become flags."""

import dataclasses
import functools
from collections.abc import Callable

from medjax.config import option
from medjax.errors import UserError
from medjax.ops import alignment, field
from medjax.ops.alignment import AFFINE, BSPLINE, FORMS, RIGID, VELOCITY, Similarity
from medjax.ops.similarity import SIMILARITIES, local_correlation
from medjax.typing import Array

NETWORK, OPTIMISE = "network", "optimise"
NONE = "none"
LNCC, LNCC_WINDOW = "lncc", 9  # as in VoxelMorph
_FACTORS = (4, 2, 1)  # that images are shrunk by, the coarsest first
DIVISOR = 2 * max(_FACTORS)  # of the sides of a pair
_REGULARISERS = {"gradient": field.gradient_energy, "bending": field.bending_energy}


@dataclasses.dataclass(frozen=True)
class AlignmentOptions:
    """What makes two images alike, and which transforms do it."""

    method: str = option(
        NETWORK,
        "network: one is trained for all pairs; optimise: each pair by itself, without training",
        choices=(NETWORK, OPTIMISE),
        kept=True,
        common=True,
    )
    affine: str = option(
        "",
        "found by gradients before anything else; empty: affine with optimise, else none",
        choices=("", NONE, RIGID, AFFINE),
        answers=True,
        common=True,
    )
    transform: str = option(
        VELOCITY,
        "velocity: integrated, does not fold; displacement; bspline: control points, with optimise",
        choices=FORMS,
        kept=True,
        common=True,
    )
    similarity: str = option(
        LNCC,
        "what makes images alike: lncc: local correlation; mse; mi: mutual information, mind: "
        "self-similarity, both of two modalities",
        choices=tuple(SIMILARITIES),
        answers=True,
        common=True,
    )
    lncc_window: int = option(
        LNCC_WINDOW, "of lncc: voxels of the side of a box, an odd number", least=3, answers=True
    )
    smoothness: float = option(1.0, "weight of the regulariser", least=0, answers=True, common=True)
    regulariser: str = option(
        "gradient",
        "of fields: squared first differences, or second ones (bending)",
        choices=tuple(_REGULARISERS),
        answers=True,
    )
    iterations: int = option(
        40, "of optimise: steps at each of three sizes; 0: affine alone", least=0, answers=True
    )
    refine: int = option(
        0, "steps by which the answer of a network is refined", least=0, answers=True
    )

    def __post_init__(self) -> None:
        if self.method == NETWORK and self.transform == BSPLINE:
            raise UserError("`transform=bspline` is of `method=optimise`; choose another one")
        if self.method == OPTIMISE and self.refine:
            raise UserError("`refine`: of a network; with `method=optimise` give `iterations`")
        if self.lncc_window % 2 == 0:
            raise UserError(f"`lncc_window={self.lncc_window}`: give an odd number")
        if self.lncc_window != LNCC_WINDOW and self.similarity != LNCC:
            raise UserError(f"`lncc_window`: of `similarity=lncc`, not of {self.similarity}")

    @property
    def is_trained(self) -> bool:
        """Whether there is a network."""
        return self.method == NETWORK

    @property
    def similarity_of(self) -> Similarity:
        """How unlike two images are."""
        if self.similarity == LNCC:
            return functools.partial(local_correlation, window=self.lncc_window)
        return SIMILARITIES[self.similarity]

    @property
    def smoothness_of(self) -> Callable[[Array], Array]:
        """The weighted regulariser of a field."""
        energy, weight = _REGULARISERS[self.regulariser], self.smoothness
        return lambda u: weight * energy(u)

    def fit_affine(self, fixed: Array, moving: Array, initial: Array, *, spacing: Array) -> Array:
        """The affine of a pair `[*space]`, from the initial one on.

        Args:
          spacing: of the voxels of the fixed image, `[ndim]`, by which a turn is one.
        """
        kind = self.affine or (NONE if self.is_trained else AFFINE)
        if kind == NONE:
            return initial
        return alignment.fit_affine(
            fixed,
            moving,
            initial,
            similarity=self.similarity_of,
            kind=kind,
            spacing=spacing,
        )

    def fit_field(self, fixed: Array, moving: Array, matrix: Array, start: Array) -> Array:
        """The displacement of a pair, from `start` on, on its grid."""
        factors, steps = ((1,), self.refine) if self.is_trained else (_FACTORS, self.iterations)
        if not steps:
            return start
        return alignment.fit_field(
            fixed,
            moving,
            matrix,
            start,
            similarity=self.similarity_of,
            smoothness=self.smoothness_of,
            form=self.transform,
            levels=alignment.split_steps(steps=steps, factors=factors),
        )
