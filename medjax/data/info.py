"""What a dataset is: one description that model, metrics and report read alike."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Facts about a set of labelled images.

    Attributes:
      name: short name.
      classes: class names, in the order of the labels.
      modality: how the images were made.
      spacing_mm: distance between voxels along each axis, or None where it is not known.
      licence: the terms of the images.
      citation: what to cite.
      synthetic: True where images or labels were generated, not acquired.
    """

    name: str
    classes: tuple[str, ...]
    modality: str = "unknown"
    spacing_mm: tuple[float, ...] | None = None
    licence: str = "unknown"
    citation: str = ""
    synthetic: bool = False

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "DatasetInfo":
        spacing = values.get("spacing_mm")
        return cls(**{**values, "classes": tuple(values["classes"]),
                      "spacing_mm": None if spacing is None else tuple(spacing)})
