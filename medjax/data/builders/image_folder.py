"""One's own images: a folder a class, or a `metadata.csv`."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import exams, images, splits
from medjax.data import subjects as subject_rules
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.found import RawImage
from medjax.data.info import UNLABELLED, DatasetInfo
from medjax.data.labelled import LabelRow, Scan, scan
from medjax.errors import UserError


class ImageFolder(Builder, skip_registration=True):  # type: ignore[call-arg]
    """Labelled image files: PNG, JPEG, TIFF, BMP, NIfTI, DICOM; 2-D or 3-D.

    Either `metadata.csv` in the folder names path, label and perhaps split, subject and more, or
    each class is a folder (`CLASS/*`, or `SPLIT/CLASS/*`). What has no split is split by subject.
    """

    name = "image_folder"
    VERSION = tfds.core.Version("1.4.0")  # 1.3.0 did not say whether pictures were among scans
    READS: tuple[str, ...] = (
        "data_dir",
        "path_folder",
        "path_suffix",
        "split_column",
        "subject_column",
        "split_seed",
        "image_size",
        "fit",
        "keep_spacing",
        "class_order",
        "finding_columns",
        "quantity_columns",
        "unlabelled",
        "taxonomy",
        "leaf_columns",
        "max_class_size",
        "class_level",
        "positive_class",
        "path_column",
        "label_column",
        "metadata_columns",
        "subject_block",
        "channels",
        "skip_bad",
        "max_image_gb",
        "plain_ids",
    )

    @functools.cached_property
    def rows(self) -> list[LabelRow]:
        """Those whose header can be read, where others may be left out."""
        if not self.options.skip_bad:
            return self.scan.rows
        return list(
            self.readable(
                self.scan.rows,
                lambda row: subject_rules.patient_of(row.path),
                lambda row, patient: row,
            )
        )

    @functools.cached_property
    def scan(self) -> Scan:
        return scan(self.options)

    @functools.cached_property
    def classes(self) -> tuple[tuple[str, ...], bool]:
        if self.options.unlabelled:
            return (UNLABELLED,), False
        if not self.options.has_classes:
            return (), False
        return exams.order_classes([row.label for row in self.rows], self.options.class_order)

    @functools.cached_property
    def subjects(self) -> subject_rules.Subjects:
        rows, known_by = self.rows, self.scan.known_by
        names, origins = [row.subject for row in rows], [row.origin for row in rows]
        paths = [row.path for row in rows]
        if known_by.startswith("files"):  # a header that names the patient knows better
            return subject_rules.resolve(
                [""] * len(rows),
                paths,
                own=names,
                origins=origins,
                otherwise=known_by,
                secret=self.secret,
            )
        return subject_rules.resolve(
            names,
            paths,
            own=[self._case(row) for row in rows],
            origins=origins,
            column=known_by,
            secret=self.secret,
        )

    def _case(self, row: LabelRow) -> str:
        return row.path.relative_to(self.options.root).as_posix()

    def describe(self):
        return self._description

    @functools.cached_property
    def first(self) -> RawImage:
        return self._first[1]

    @functools.cached_property
    def _first(self) -> tuple[LabelRow, RawImage]:
        """The first that can be read, with its row."""
        return self.first_readable(self.rows, self._image, lambda row, image: (row, image))

    def _image(self, row: LabelRow) -> RawImage:
        raw_image = images.read(row.path, limit_bytes=self.options.limit_bytes)
        pixels = self.in_channels(raw_image.pixels)
        return raw_image._replace(pixels=pixels.astype(np.float32) if self.mixed else pixels)

    def _image_like_first(self, row: LabelRow) -> RawImage:
        first_row, first = self._first
        raw_image = self._image(row)
        if len(raw_image.axes) == len(first.axes) and raw_image.axes != first.axes:
            raise UserError(
                f"{row.path}: its axes are stored as {', '.join(raw_image.axes)}, those of "
                f"{first_row.path} as {', '.join(first.axes)}; convert them to one kind "
                "of file"
            )
        return raw_image

    @functools.cached_property
    def mixed(self) -> bool:
        """Whether some files are in the units of a modality, and others pictures."""
        kinds = Counter(images.kind(row.path) for row in self.rows)
        measured = sum(n for kind, n in kinds.items() if kind not in images.PICTURES)
        if self.options.channels and any(kind in images.DICOM for kind in kinds):
            return True  # DICOM in gray has units, in colour none
        if 0 < measured < len(self.rows):
            self.notes.append(
                f"{measured} files have the units of their modality, "
                f"{len(self.rows) - measured} are pictures: values are taken as they "
                "are, as float32"
            )
        return 0 < measured < len(self.rows)

    @functools.cached_property
    def arrangement(self) -> exams.Arrangement:
        lies = self.first.pixels.ndim == 4 or self.first.affine is not None
        layouts = list(
            self.readable(self.rows if lies else [], lambda row: images.layout(row.path))
        )
        arrangement, notes = exams.plan(layouts, self.first.pixels.shape[:-1], self.options)
        self.notes += notes
        return arrangement._replace(integer_type=exams.common_type(layouts))

    @functools.cached_property
    def _description(self):
        classes, ordered = self.classes
        arrangement = self.arrangement
        pixels = exams.arrange(self.first, arrangement, origin=str(self.rows[0].path))
        name = self.options.root.resolve().name
        info = DatasetInfo(
            name,
            classes,
            findings=self.options.finding_columns,
            quantities=self.options.quantity_columns,
            ordered=ordered,
            mixed=self.mixed,
            spacing_mm=self._spacing_mm(pixels.shape[:-1]),
            positive=exams.positive_of(classes, self.options.positive_class),
            subjects=self.subjects.known_by,
            orientation="RAS" if arrangement.oriented else "",
            resampled=arrangement.spacing_mm is not None,
            groups=tuple(self.scan.groups[name] for name in classes) if self.scan.groups else (),
        )
        return info, pixels.shape, pixels.dtype

    def _spacing_mm(self, shape: tuple[int, ...]) -> tuple[float, ...] | None:
        """Of the prepared images, by the first."""
        arrangement = self.arrangement
        if arrangement.spacing_mm is not None:
            return arrangement.spacing_mm
        stored, spacing = (
            exams.turned(self.first)
            if arrangement.oriented
            else (self.first.pixels, self.first.spacing_mm)
        )
        if not spacing or not exams.known_spacing(spacing):
            return None
        extent = [s * n for s, n in zip(spacing, stored.shape[:-1], strict=True)]
        if arrangement.shape and arrangement.fit == "pad":
            return (max(e / n for e, n in zip(extent, shape, strict=True)),) * len(shape)
        return tuple(e / n for e, n in zip(extent, shape, strict=True))

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += [*self.scan.notes, *self.subjects.notes]
        classes, _ = self.classes
        # Of findings and quantities no class has to be in every split.
        labels = [classes.index(row.label) if classes else 0 for row in self.rows]
        given = splits.check_all_or_none(self.rows)
        self.splits_drawn = not given
        chosen = splits.complete(
            given or None, self.subjects.ids, labels, seed=self.options.split_seed
        )
        splits.check_leaks(chosen, self.subjects.shown, origins=[r.origin for r in self.rows])
        if classes:
            splits.check_classes(chosen, labels, classes)
        self.notes += subject_rules.check_patients(
            self.rows, chosen, self.subjects, wished=bool(self.options.subject_column)
        )
        every = list(zip(self.rows, labels, self.subjects.shown, chosen, strict=True))
        parts = {
            name: [(r, y, who) for r, y, who, s in every if s == name]
            for name in splits.SPLITS
            if name in chosen
        }
        return {name: Part(len(rows), self._read(rows)) for name, rows in parts.items()}

    def _target(self, row: LabelRow, label: int) -> dict[str, Any]:
        if self.classes[0]:
            return {"label": label}
        if row.findings:
            return {"findings": np.array(row.findings)}
        return {"quantities": np.array(row.quantities)}

    def _read(self, rows: list[tuple[LabelRow, int, str]]) -> Iterator[Example]:
        arrangement = self.arrangement

        def example(item: tuple[LabelRow, int, str], raw_image: RawImage) -> Example:
            row, label, who = item
            return Example(
                exams.arrange(raw_image, arrangement, origin=str(row.path)),
                self._target(row, label),
                self._case(row),
                who,
                str(row.path),
                subject_rules.hide(row.metadata, self.secret),
            )

        return self.readable(rows, lambda item: self._image_like_first(item[0]), example)
