"""An index of cases that persists and grows: which cases look like this image?

    medjax index make runs/retrieve my_index MY_IMAGES     # or a bundle
    medjax index add my_index MORE_IMAGES
    medjax index search my_index query.png --html=similar.html
    medjax index search my_index query.png --where='sex=F,age>=60'
    medjax index serve my_index                            # a page
    medjax index show my_index
    medjax index verify my_index

Metadata are the columns of `metadata.csv` in the folder of images. For a team, the same commands
with --store=postgresql://USER@HOST/DATABASE keep the index of that name in a database.
"""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

from medjax import app, progress, runtime
from medjax.config import option
from medjax.data import walk
from medjax.errors import ExitError, UserError, unknown
from medjax.evaluation import plot, report
from medjax.index import AddedCount, CaseIndex, make_index, open_index, parse_conditions
from medjax.index.case_index import LookUp
from medjax.index.listing import ListingOptions
from medjax.index.opening import list_left_out
from medjax.outputs.base import ImageHints
from medjax.page import cases as page
from medjax.page.parts import embed_bytes

_SHOWN_FACTS, _LONGEST = 5, 22  # columns of metadata in a table, characters of a cell
_SHOWN_BAD = 20


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    files: tuple[str, ...] = option(
        (), "make, add, search, serve, show or verify, and what it is done to", positional=True
    )
    store: str = option("", "a database: postgresql://USER@HOST/DATABASE", common=True)
    k: int = option(5, "search: so many cases", least=1, common=True)
    where: tuple[str, ...] = option(
        (), "search: only cases with this metadata, as age>=60", common=True
    )
    subject: str = option(
        "", "search: of the image, whose other cases are passed over", common=True
    )
    html: str = option("", "search: write a page that shows the cases", path=True, common=True)
    listing: ListingOptions = ListingOptions()
    approximate: bool = option(
        False, "make: search a graph, for millions of cases; may pass over near ones"
    )
    network_sha256: str = option("", "the index must be of the network with this sha256")
    channels: str = option(
        "", "gray: colour images are made gray for a network of gray ones", choices=("", "gray")
    )
    resize: bool = option(False, "bring images of other shapes to that of the training")
    series: str = option("", "of folders with several DICOM series the one that is meant")
    host: str = option("127.0.0.1", "serve: the address; only this computer reaches 127.0.0.1")
    port: int = option(8000, "serve: the port; 0: a free one", least=0, below=65536)
    limit_mb: float = option(256.0, "serve: refuse larger images", least=0)
    cache_dir: str = option("~/.cache/medjax", "of compiled programs", path=True)

    @property
    def hints(self) -> ImageHints:
        """What the images do not say themselves."""
        return ImageHints(channels=self.channels, resize=self.resize, series=self.series)


def main(config: Config) -> None:
    verb, *names = config.files or ("",)
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    needs, act = VERBS[verb]
    least = sum(not name.startswith("[") for name in needs)
    most = sys.maxsize if needs[-1].endswith("...") else len(needs)
    if not least <= len(names) <= most:
        usage = f"medjax index {verb} {' '.join(needs)}"
        raise UserError(f"{verb}: takes {usage.split(verb)[1].strip()}, got {len(names)}: {usage}")
    runtime.setup(Path(config.cache_dir).expanduser())
    runtime.check_device()
    act(config, *names)


def make(config: Config, network: str, where: str, images: str = "") -> None:
    """A new index, with images if some are named."""
    with progress.alive("reading the network"):
        index = make_index(network, where, store=config.store, approximate=config.approximate)
    with index:
        print(f"wrote {where}: an index by {index.settings.distance} distance; no cases yet")
        left_out = list_left_out(index.model)
        if left_out:
            print(
                f"note: the run ranks by {', '.join(left_out)} too, and an index does not: its "
                "report is not about what the index answers"
            )
        if images:
            _add(config, index, where, images)


def add(config: Config, where: str, images: str) -> None:
    """Adds the images of a folder."""
    with _open(config, where) as index:
        _add(config, index, where, images)


def _add(config: Config, index: CaseIndex, where: str, images: str) -> None:
    counted = index.add(images, options=config.listing, hints=config.hints)
    new = walk.counted(counted.added, "case")
    print(f"{where}: {new} added, {_known(counted)}{len(index):,} now")
    if counted.bad:
        print(f"\n{walk.counted(len(counted.bad), 'image')} not added:", file=sys.stderr)
        for name, complaint in counted.bad[:_SHOWN_BAD]:
            print(app.name_flags(f"  {name}: {complaint}", Config), file=sys.stderr)
        if len(counted.bad) > _SHOWN_BAD:
            print(f"  and {len(counted.bad) - _SHOWN_BAD} more", file=sys.stderr)
        raise ExitError(1)


def _known(counted: AddedCount) -> str:
    return f"{counted.known:,} there already, " if counted.known else ""


def search(config: Config, where: str, *images: str) -> None:
    """The cases that look like images: a table each, and a page where one is wanted."""
    conditions = parse_conditions(config.where)
    shown = []
    with _open(config, where) as index:
        for name, n in index.count_lacking(conditions).items():
            if n:
                print(f"note: {walk.counted(n, 'case')} without {name} passed over")
        for image in images:
            answer = index.look_up(
                image, k=config.k, where=conditions, subject_id=config.subject, hints=config.hints
            )
            _show_answer(image, answer)
            shown.append(_show_query(index, image, answer))
        population = f"{walk.counted(len(index), 'case')}, {index.settings.distance} distance"
    if config.html:
        page.write_similar(
            Path(config.html), name=Path(where).name, population=population, queries=shown
        )
        print(f"wrote {config.html}")


def _show_answer(image: str, answer: LookUp) -> None:
    names = list(dict.fromkeys(name for case in answer.cases for name in case.facts))
    columns = names[:_SHOWN_FACTS]
    rows = [
        [
            plot.short(case.case_id, most=2 * _LONGEST),
            f"{case.distance:.4g}",
            plot.short(case.subject_id or "-", most=_LONGEST),
            *(
                plot.short(page.plain_fact(case.facts.get(name, "-")), most=_LONGEST)
                for name in columns
            ),
        ]
        for case in answer.cases
    ]
    same = f"{walk.counted(answer.same, 'case')} with the same file passed over"
    notes = [same] * bool(answer.same)
    if not rows:
        notes.append("no case meets the conditions, or the index is empty")
    report.show(f"cases like {image}", ["case", "distance", "subject", *columns], rows, notes)


def _show_query(index: CaseIndex, image: str, answer: LookUp) -> page.ShownQuery:
    cases = [
        page.ShownCase(
            case.case_id,
            embed_bytes(index.read_picture(case.number) or b""),
            [
                f"distance {case.distance:.4g}",
                *[f"subject: {case.subject_id}"] * bool(case.subject_id),
                *(f"{name}: {page.plain_fact(value)}" for name, value in case.facts.items()),
            ],
        )
        for case in answer.cases
    ]
    return page.ShownQuery(Path(image).name, embed_bytes(answer.picture), cases)


def serve(config: Config, where: str) -> None:
    """A page at localhost, until it is interrupted."""
    from medjax.index import web

    with _open(config, where) as index:
        name, limit = Path(where).name, int(config.limit_mb * 1e6)
        made = web.make_app(
            index, name=name, host=config.host, limit_bytes=limit, hints=config.hints
        )
        recall = index.measure_recall()
        if recall is not None:
            print(f"the graph finds {100 * recall:.1f} % of the 5 nearest (100 cases of its own)")
        web.serve(made, host=config.host, port=config.port)


def show(config: Config, where: str) -> None:
    """What an index is and holds."""
    with _open(config, where) as index:
        facts = index.count_facts()
        rows = [
            [name, f"{sum(values.values()):,}", f"{len(values):,}", _most_frequent(values)]
            for name, values in sorted(facts.items())
        ]
        settings = index.settings
        notes = [
            f"network: medjax {index.model.experiment}, trained on {index.model.spec.info.name}, "
            f"sha256 {settings.network_sha256}",
            f"distance: {settings.distance}, {settings.bytes_a_vector:,} bytes a case"
            + ", approximate" * settings.approximate,
        ]
        title = f"{where}: {walk.counted(len(index), 'case')}"
        report.show(title, ["metadata", "cases", "values", "most frequent"], rows, notes)


def _most_frequent(values: dict[str | float, int]) -> str:
    first = sorted(values.items(), key=lambda item: (-item[1], str(item[0])))[:3]
    return ", ".join(f"{page.plain_fact(v)} ({n:,})" for v, n in first)


def verify(config: Config, where: str) -> None:
    """Reads all of an index, and says what was proved."""
    with _open(config, where) as index:
        digest = index.verify()
        print(
            f"{where}: whole; {walk.counted(len(index), 'case')}; sha256 of the network "
            f"{index.settings.network_sha256}, sum of the cases {digest}"
        )


def _open(config: Config, where: str) -> CaseIndex:
    with progress.alive("opening the index"):
        return open_index(where, store=config.store, network_sha256=config.network_sha256)


VERBS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "make": (("NETWORK", "INDEX", "[IMAGES]"), make),
    "add": (("INDEX", "IMAGES"), add),
    "search": (("INDEX", "IMAGE..."), search),
    "serve": (("INDEX",), serve),
    "show": (("INDEX",), show),
    "verify": (("INDEX",), verify),
}
