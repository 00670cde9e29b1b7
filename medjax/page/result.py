"""What the page says of a run that has ended, from its `report.json`."""

import math
from typing import Any

from medjax.evaluation import report
from medjax.page.parts import cell, draw_bar, number, show_estimate
from medjax.typing import Json, JsonView

_MOST_METRICS = 2  # of the table of what stands beside a network
_FEW_CASES = 10  # of a class, below which the page says so


def describe_result(result: JsonView) -> Json:
    """What the page says of a run that has its report."""
    chosen_by = (result.get("validation") or {}).get("metric")
    main = str(chosen_by if chosen_by in result["metrics"] else next(iter(result["metrics"])))
    return {
        "title": f"{_data_name(result)}: {result['model']}",
        "population": f"{_split_of(result)}: {report.population(result)}; {result['of']}",
        "headline": _headline(main, result),
        "baseline_is": result["baseline_is"],
        "has_seeds": len(result["seeds"]["each"]) > 1,
        "rows": [_row(name, result) for name in result["metrics"]],
        "warnings": _warnings(result),
        "remarks": [
            *_about_intervals(result),
            *_conformal(result),
            *result.get("remarks", []),
            *report.reasons({k: report.estimate_of(v) for k, v in result["metrics"].items()}),
        ],
        "definitions": result["definitions"],
        "tables": _tables(result),
        **_data(result),
        "made": _made(result),
        "citations": [
            line
            for line in (
                "The medjax developers: medjax, a JAX research library for medical images, "
                f"version {result['versions']['medjax']}, 2026.",
                (result.get("data") or {}).get("citation"),
            )
            if line
        ],
    }


def _about_intervals(result: JsonView) -> list[str]:
    """What they are over, where there are any."""
    if all(math.isnan(report.estimate_of(v).low) for v in result["metrics"].values()):
        return ["Each drawn line has a scale of its own."]
    return [f"Intervals are over {report.over(result)}. Each drawn line has a scale of its own."]


def _conformal(result: JsonView) -> list[str]:
    """What the radius of each landmark holds, in words."""
    region = result.get("conformal")
    if not region:
        return []
    if region["coverage"] is None and not region["judged"].startswith("not"):
        return []  # of no landmark a radius is known
    coverage = "" if region["coverage"] is None else f" Here they hold {region['coverage']:.0%}."
    return [
        f"conformal_radius_mm is to hold {region['level']:.0%} of the points of further subjects; "
        f"it was set on {region['calibrated_on']}.{coverage}"
    ]


def _warnings(result: JsonView) -> list[str]:
    """What a reader should know before believing the numbers."""
    out = []
    if not result["subjects_known_by"]:
        out.append(
            "Subjects are not known: each image counts as its own. If some are of one person, "
            "intervals are too narrow, and one person may be in training and test."
        )
    if result["metrics"].get("auc", {}).get("value") in (1.0, 1):
        out.append(
            "A perfect score, as auc has it here, is more often a leak than a success: look for "
            "images of one person, or marks of one scanner, in training and test."
        )
    out += [f"{line[0].upper()}{line[1:]}." for line in report.advise(result)]
    counts = (result.get("data") or {}).get("splits", {}).get(result["split"], {})
    few = {k: n for k, n in counts.items() if k not in ("cases", "subjects") and n < _FEW_CASES}
    if few:
        shown = ", ".join(f"{name} {count}" for name, count in few.items())
        out.append(f"Few cases of a class in the split that is reported: {shown}.")
    return out


def _split_of(result: JsonView) -> str:
    return result["split"] if "folds" in result else f"{result['split']} split"


def _data_name(result: JsonView) -> str:
    return result["dataset"] + (" (synthetic)" if result["synthetic"] else "")


def _headline(name: str, result: JsonView) -> Json:
    estimate = report.estimate_of(result["metrics"][name])
    has_interval = not math.isnan(estimate.low)
    return {
        "name": name,
        "value": number(estimate.value),
        "interval": f"95 % interval {number(estimate.low)} to {number(estimate.high)}"
        if has_interval
        else f"no interval: {estimate.reason or 'undefined'}",
        "baseline": number(result["baseline"].get(name)),
    }


def _row(name: str, result: JsonView) -> Json:
    estimate = report.estimate_of(result["metrics"][name])
    baseline = result["baseline"].get(name)
    mean = result["seeds"]["mean"].get(name)
    return {
        "name": name,
        "shown": show_estimate(estimate),
        "mean": show_estimate(report.estimate_of(mean)) if mean else "",
        "baseline": number(baseline),
        "bar": draw_bar(estimate, baseline=baseline),
    }


def _tables(result: JsonView) -> list[Json]:
    """Of classes, landmarks or structures, each a row, where the report has them; first those that
    it has as they are to be shown."""
    out = []
    for key, title in (
        ("classes", "Each class against the rest"),
        ("landmarks", "Each landmark"),
        ("structures", "Each structure"),
        ("boxes", "Each class"),
    ):
        rows = _with_intervals(result) if key == "classes" else result.get(key)
        if isinstance(rows, dict) and rows:
            columns = list(next(iter(rows.values())))
            if key == "landmarks":  # of many landmarks, what is the same for all is left out
                columns = [
                    c for c in columns if len({str(row.get(c)) for row in rows.values()}) > 1
                ]
            shown = [[name, *(cell(row.get(c)) for c in columns)] for name, row in rows.items()]
            note = _missing_intervals(result) if key == "classes" else []
            columns = [title.split()[1], *columns]
            out.append({"title": title, "columns": columns, "rows": shown, "remarks": note})
    return [*result.get("tables", []), *_stand_beside(result), *_folds(result), *out]


def _folds(result: JsonView) -> list[Json]:
    """Each fold by itself, where the report is of several."""
    folds = result.get("folds")
    if not folds:
        return []
    rows = [
        [name, *(show_estimate(report.estimate_of(fold[name])) for fold in folds)]
        for name in folds[0]
    ]
    columns = ["metric", *(f"fold {i}" for i in range(len(folds)))]
    return [{"title": "Each fold", "columns": columns, "rows": rows}]


def _missing_intervals(result: JsonView) -> list[str]:
    """Why numbers of classes have no interval."""
    estimates = {
        f"{metric} of {name}": report.estimate_of(value)
        for name, row in result.get("class_intervals", {}).items()
        for metric, value in row.items()
    }
    return report.reasons(estimates)


def _with_intervals(result: JsonView) -> Json:
    """The classes, each number with its interval, where the report has them."""
    intervals = result.get("class_intervals", {})
    return {
        name: {
            **{k: show_estimate(report.estimate_of(v)) for k, v in intervals.get(name, {}).items()},
            **{k: v for k, v in row.items() if k not in intervals.get(name, {})},
        }
        for name, row in result.get("classes", {}).items()
    }


def _stand_beside(result: JsonView) -> list[Json]:
    """What the network is held against, and by how much each differs from it."""
    rows, compared = result.get("beside"), result.get("compared", {})
    if not rows:
        return []
    names = list(next(iter(rows.values())))[:_MOST_METRICS]
    shown = []
    for who, values in rows.items():
        c = compared.get(who, {})
        difference = c.get("difference") or c.get("difference_mm")
        shown.append(
            [
                who,
                *(show_estimate(report.estimate_of(values[n])) for n in names),
                show_estimate(report.estimate_of(difference)) if difference else "",
                f"{c['p_holm']:.4f}" if c.get("p_holm") is not None else "",
            ]
        )
    other = result.get("compared_with", "the network")
    against = f"{names[0]} minus {other}" if compared else ""
    columns = ["", *names, against, "p (Holm)"]
    return [{"title": "Beside each other", "columns": columns, "rows": shown}]


def _data(result: JsonView) -> Json:
    data = result.get("data")
    if not data:
        return {}
    splits = data["splits"]
    names = list(dict.fromkeys(k for s in splits.values() for k in s))
    return {
        "data_facts": [
            (k, v)
            for k, v in (
                ("modality", data["modality"]),
                ("image", data["image"]),
                ("subjects", result["subjects_known_by"] or "not known: each image is its own"),
                ("licence", data["licence"]),
            )
            if v
        ],
        "data_columns": ["", *splits],
        "data_rows": [[name, *(part.get(name, "") for part in splits.values())] for name in names],
        "notes": result["notes"],
    }


def _trained(result: JsonView) -> list[tuple[str, str]]:
    train = result["train"]
    if not train["steps"]:
        return [("training", "no network")]
    chosen_by = (result["validation"] or {}).get("metric")
    return [
        ("training", f"{train['steps']} steps, {train['seconds']:.0f} s"),
        ("best step", f"{report.best_steps(result)}, by {chosen_by}"),
    ]


def _made(result: JsonView) -> list[tuple[str, Any]]:
    versions = result["versions"]
    start = result.get("started_from", {})
    of_whom = [start[key] for key in ("weights", "source", "licence", "note") if key in start]
    scaled = [f"images scaled as {start['scaling']}"] if start else []
    return [
        *([("started from", "; ".join([*of_whom, *scaled]))] if start else []),
        ("device", result["device"]),
        *_trained(result),
        ("parameters", f"{result['parameters']:,}"),
        ("weights, sha256", result["weights_sha256"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]
