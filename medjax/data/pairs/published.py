"""Published sets whose images are registered in pairs."""

import dataclasses
from pathlib import Path

import numpy as np

from medjax.data import table
from medjax.data.info import DatasetInfo
from medjax.data.masks import published as mask_sets
from medjax.data.masks.case import MaskSet
from medjax.data.pair_options import CENTRE, WORLD, PairOptions
from medjax.data.pairs.case import ALL_PAIRS, PairSet, check_pairs
from medjax.data.pairs.folder import read_pairs
from medjax.errors import UserError


def hippocampus_pairs(options: PairOptions) -> PairSet:
    """Crops of T1-weighted MR about the hippocampus, each validation case to the next, about their
    centres, as task 4 of Learn2Reg 2020 pads them; trained on all pairs of the training."""
    root = table.root_of(options)
    masks = mask_sets.hippocampus(options)
    cases = [case._replace(case_id=Path(case.case_id).name.split(".")[0]) for case in masks.cases]
    paths = [Path(options.pairs)] if options.pairs else sorted(root.glob("pairs_*.csv"))
    if not paths:
        raise UserError(
            f"`data_dir={root}`: no pairs_*.csv; copy the lists there, or name one with `pairs`"
        )
    names = [case.case_id for case in cases]
    moving: dict[str, list[str]] = {}
    for path in paths:
        for fixed, some in read_pairs(path, names).items():
            moving.setdefault(fixed, []).extend(some)
    check_pairs(moving, cases)
    text = f"by {', '.join(path.name for path in paths)}; training cases all with all"
    info = dataclasses.replace(masks.info, name="hippocampus_pairs")
    masks = masks._replace(info=info, cases=cases)
    return PairSet(masks, text, moving, initial=CENTRE)


def mouse_brain(options: PairOptions) -> PairSet:
    """In-vivo T2-weighted MR of mouse brains, with 37 structures; all pairs of a split, and of the
    validation its mouse to each of the training."""
    root = table.root_of(options)
    rows = table.read_rows(root / "volumes.csv")
    named = {
        int(r["label"]): f"{r['structure']} {r.get('side', '')}".strip()
        for r in table.read_rows(root / "labels.csv")
    }
    cases = mask_sets.read_cases(root, rows, options, **mask_sets.VOLUMES, subject="case")
    cases = [case._replace(case_id=case.subject) for case in cases]
    there = np.unique(cases[0].read_mask().pixels)  # three of the table are in no mask
    names = {value: name for value, name in named.items() if value in there}
    info = DatasetInfo(
        "mouse_brain",
        subjects=f"mice, {len(cases)}",
        structures=tuple(names.values()),
        modality="T2-weighted MR",
        licence="GPL-3.0 (of the repository)",
        citation="Ma et al., Automatic structural parcellation of mouse brain MRI using "
        "multi-atlas label fusion. PLOS ONE 9(1):e86576, 2014.",
    )
    train = [case.case_id for case in cases if case.split == "train"]
    moving = {case.case_id: train for case in cases if case.split != "train"}
    text = "training mice all with all, each other mouse with all of these"
    masks = MaskSet(info, cases, tuple(names))
    if options.unsplit:  # leave one out: nothing is trained
        return PairSet(masks, ALL_PAIRS, {}, initial=WORLD)
    return PairSet(masks, text, moving, initial=WORLD)
