"""Published sets of labelled images that come as a table beside a folder of images."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from medjax.data.builders.image_folder import ImageFolder
from medjax.data.found import RawImage
from medjax.data.labelled import LabelRow, Scan, scan
from medjax.data.options import OF_CLASSES, DataOptions

# Where the zones of the Brixia score lie in a picture, as shares of its height and its width: from
# the top of the lungs to their base, the patient's right side on the left. Films show more or less
# of the body, so that zones overlap.
_HEIGHTS = ((0.02, 0.42), (0.19, 0.59), (0.38, 0.78))
_WIDTHS = ((0.0, 0.55), (0.45, 1.0))
ZONES = {zone: (_HEIGHTS[i % 3], _WIDTHS[i // 3]) for i, zone in enumerate("ABCDEF")}
_SCORES = tuple(f"{who}_{zone}" for who in ("senior", "junior") for zone in ZONES)


class Publication(NamedTuple):
    """How a set is laid out, and what is known of it.

    Attributes:
      table: the file that lists the images.
      options: those of `DataOptions` that its layout asks for; what a user gives comes first.
      facts: of `DatasetInfo`.
    """

    table: str
    options: Mapping[str, Any]
    facts: Mapping[str, Any]


PUBLICATIONS = {
    "ham10000": Publication(
        "metadata.csv",
        {
            "path_folder": "images",
            "path_column": "image_id",
            "label_column": "dx",
            "subject_column": "lesion_id",
            "metadata_columns": ("age", "sex", "localization"),
        },
        {
            "modality": "dermatoscopy",
            "licence": "CC BY-NC 4.0",
            "citation": "Tschandl et al., The HAM10000 dataset, a large collection of multi-source "
            "dermatoscopic images of common pigmented skin lesions. Sci. Data 5:180161, 2018.",
        },
    ),
    "covid_cxr": Publication(
        "metadata.csv",
        {
            "path_folder": "images",
            "path_column": "image",
            "label_column": "finding",
            "subject_column": "patient",
            "metadata_columns": ("age", "sex", "view"),
            "image_size": 224,
        },
        {
            "modality": "chest X-ray",
            "licence": "by image, see its table",
            "citation": "Cohen et al., COVID-19 image data collection: prospective predictions are "
            "the future. Machine Learning for Biomedical Imaging, 2020.",
        },
    ),
    "brixia_cxr": Publication(
        "scores.csv",
        {
            "path_folder": "images",
            "path_column": "image",
            "label_column": "senior_global",
            "subject_column": "patient",
            "metadata_columns": ("age", "sex", "view", *_SCORES),
            "image_size": 128,
            "fit": "stretch",
        },
        {
            "modality": "chest X-ray",
            "licence": "images: by image, see its table; scores: CC BY-NC-SA 4.0",
            "citation": "Signoroni et al., BS-Net: learning COVID-19 pneumonia severity on a large "
            "chest X-ray dataset. Medical Image Analysis 71:102046, 2021.",
        },
    ),
}


class PublishedExams(ImageFolder, skip_registration=True):  # type: ignore[call-arg]
    """A published set; the class attribute `name` says which."""

    @functools.cached_property
    def options(self) -> DataOptions:
        """Those of the layout, where the user has given no other."""
        given, usual = super().options, DataOptions()
        wished = {
            name: value
            for name, value in PUBLICATIONS[self.name].options.items()
            if getattr(given, name) == getattr(usual, name)
        }
        if not given.has_classes:
            wished = {k: v for k, v in wished.items() if k not in OF_CLASSES}
        learnt = (*given.finding_columns, *given.quantity_columns)  # and so no metadata
        if "metadata_columns" in wished:
            kept = [name for name in wished["metadata_columns"] if name not in learnt]
            wished["metadata_columns"] = tuple(kept)
        return dataclasses.replace(given, **wished)

    @functools.cached_property
    def scan(self) -> Scan:
        return scan(self.options, usual=PUBLICATIONS[self.name].table)

    @functools.cached_property
    def _description(self):
        info, shape, dtype = super()._description
        known = dataclasses.replace(info, name=self.name, **PUBLICATIONS[self.name].facts)
        return known, shape, dtype


class BrixiaZones(PublishedExams, skip_registration=True):  # type: ignore[call-arg]
    """The Brixia score of single zones of the lungs, 0 to 3, by the senior radiologist.

    An image of a zone is a fixed part of the film; films of a patient are one subject.
    """

    name = "brixia_cxr"
    READS: tuple[str, ...] = tuple(
        name
        for name in PublishedExams.READS
        if name not in ("finding_columns", "quantity_columns", "unlabelled")
    )

    @functools.cached_property
    def scan(self) -> Scan:
        by_film = super().scan
        rows = [_of_zone(row, zone) for row in by_film.rows for zone in ZONES]
        return by_film._replace(rows=rows)

    def _case(self, row: LabelRow) -> str:
        return f"{super()._case(row)}:{row.metadata['zone']}"

    def _image(self, row: LabelRow) -> RawImage:
        raw_image = super()._image(row)
        pixels = raw_image.pixels
        parts = tuple(
            slice(round(low * side), round(high * side))
            for (low, high), side in zip(ZONES[row.metadata["zone"]], pixels.shape, strict=False)
        )
        return raw_image._replace(pixels=pixels[parts])


def _of_zone(row: LabelRow, zone: str) -> LabelRow:
    """The row of a film, narrowed to a zone."""
    about = {name: value for name, value in row.metadata.items() if name not in _SCORES}
    about |= {"zone": zone, "junior": row.metadata[f"junior_{zone}"]}
    return dataclasses.replace(row, label=row.metadata[f"senior_{zone}"], metadata=about)
