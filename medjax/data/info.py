"""What a dataset is: one description that model, metrics and report read alike."""

import dataclasses

UNLABELLED = "unlabelled"  # the one class of images whose labels nobody knows
NOTES = "notes.json"  # beside the examples of a prepared set


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Facts about a set of images with classes or landmarks, or of sequences.

    Attributes:
      name: short name.
      classes: class names, in the order of the labels.
      findings: names of what each image has or has not, where it may have several.
      quantities: names of numbers that are predicted from an image, such as an age.
      landmarks: landmark names, in the order of the points.
      mirrored: pairs of landmarks that change places in a mirror image, as left and right do.
      unordered: pairs of landmarks that have no order of their own, as the two ends of an axis.
      structures: names of what masks show, in the order of their numbers 1, 2, ...
      structure_values: what stands for each in the files.
      instances: True where masks number single things of the one structure.
      box_classes: names of what boxes are drawn about, in the order of their numbers.
      frames: names of the frames that matter in a sequence.
      cyclic: True where a sequence is one whole cycle, its first frame following its last.
      lengths: (name, landmark, landmark): distances that are reported.
      ellipses: (name, length, length): circumferences from two axes; of masks of one structure, its
        long and its short axis.
      modality: how the images were made.
      grid_mm: size of a voxel of the grid that landmarks and sequences are brought to; 0: each
        image is scaled to fit.
      pose: (landmark, its place in mm), of the one pose that images are turned into by what a first
        look has found in them; empty: they keep theirs.
      spacing_mm: distance between voxels along each axis, or None where it is not known.
      licence: the terms of the images.
      citation: what to cite.
      synthetic: True where images or labels were generated, not acquired.
      subjects: how subjects are known, and how many they are; empty: each image is its own.
      mixed: True where some images are pictures and others in units of their modality, all as
        float32.
      ordered: True where the classes have an order, that of their labels.
      positive: of two classes the one that is looked for.
      groups: the coarse class of each class, where a taxonomy has some.
      orientation: that all volumes were brought to, as RAS; empty: they are as they are stored.
      resampled: True where every volume has voxels of `spacing_mm`, whatever it had before.
      pairing: how images are paired to be registered; empty: they are not.
      initial: how the two images of a pair lie at first, as of `PairOptions`; empty: as their files
        say, where these do.
      known_places: how many places beside landmarks are known in all images, of a deformation that
        was made: what tells the error of a field itself.
      longest_side: that larger images were shrunk to, in voxels; 0: none were.
    """

    name: str
    classes: tuple[str, ...] = ()
    _: dataclasses.KW_ONLY
    findings: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    landmarks: tuple[str, ...] = ()
    mirrored: tuple[tuple[str, str], ...] = ()
    unordered: tuple[tuple[str, str], ...] = ()
    structures: tuple[str, ...] = ()
    structure_values: tuple[int, ...] = ()
    instances: bool = False
    box_classes: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    cyclic: bool = False
    lengths: tuple[tuple[str, str, str], ...] = ()
    ellipses: tuple[tuple[str, str, str], ...] = ()
    modality: str = "unknown"
    grid_mm: float = 0.0
    pose: tuple[tuple[str, tuple[float, ...]], ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    licence: str = "unknown"
    citation: str = ""
    synthetic: bool = False
    subjects: str = ""
    ordered: bool = False
    mixed: bool = False
    positive: str = ""
    groups: tuple[str, ...] = ()
    orientation: str = ""
    resampled: bool = False
    longest_side: int = 0
    pairing: str = ""
    initial: str = ""
    known_places: int = 0

    @property
    def targets(self) -> tuple[str, ...]:
        """What an exam image is labelled with: one of classes, findings, or quantities."""
        return self.classes or self.findings or self.quantities

    @property
    def has_labels(self) -> bool:
        """Whether exam images have labels, or are no exam images."""
        return self.classes != (UNLABELLED,)

    @property
    def unit(self) -> str:
        """What intervals are over."""
        return "subjects" if self.subjects else "images"

    @property
    def summary(self) -> str:
        """What is to be found in it."""
        if self.pairing:
            named = f", masks of {len(self.structures)} structures" * bool(self.structures)
            return f"pairs, {self.pairing}{named}"
        if not self.has_labels:
            return "images without labels"
        shown = (
            (self.classes, f"{len(self.classes)} classes"),
            (self.findings, f"{len(self.findings)} findings"),
            (self.quantities, f"quantities {', '.join(self.quantities)}"),
            (self.landmarks, f"{len(self.landmarks)} landmarks"),
            (self.structures, f"masks of {', '.join(self.structures)}"),
            (self.box_classes, f"boxes of {', '.join(self.box_classes)}"),
        )
        frames = f"sequences, named frames {', '.join(self.frames)}"
        return next((text for names, text in shown if names), frames)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "DatasetInfo":
        def frozen(value):
            return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value

        return cls(**{name: frozen(value) for name, value in values.items()})

    def pairs(self, which: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
        """Pairs of names as pairs of numbers."""
        index = self.landmarks.index
        return tuple((index(a), index(b)) for a, b in which)
