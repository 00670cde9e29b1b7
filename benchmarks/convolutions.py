"""The convolutions that `conv` times. Both sides read it: it imports neither JAX nor PyTorch."""

from typing import NamedTuple


class Convolution(NamedTuple):
    """A convolution with padding of half its width.

    Attributes:
      images: `[batch, *space, channel]`; taps: of every axis.
    """

    images: tuple[int, ...]
    taps: int
    features: int
    stride: int = 1
    groups: int = 1


CONVOLUTIONS = {
    "plane_64": Convolution((128, 28, 28, 64), 3, 64),
    "plane_512": Convolution((128, 4, 4, 512), 3, 512),
    "pointwise_256": Convolution((64, 14, 14, 256), 1, 256),
    "volume_32": Convolution((2, 32, 32, 32, 32), 3, 32),
    "volume_strided": Convolution((4, 32, 32, 32, 16), 3, 32, stride=2),
    "volume_5_wide": Convolution((8, 45, 45, 45, 4), 5, 32),
    "depthwise_3": Convolution((8, 56, 56, 144), 3, 144, groups=144),
    "depthwise_5": Convolution((8, 28, 28, 240), 5, 240, groups=240),
}
