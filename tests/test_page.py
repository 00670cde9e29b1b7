"""The page of a run: one file, that says what the report says, and shows no more than it may."""

import html.parser
import json
import re
import shutil
import subprocess

import pytest

from medjax import page
from medjax.errors import UserError
from medjax.evaluation.stats import Estimate
from medjax.page.parts import cell, draw_bar
from medjax.tasks.families import TASKS
from medjax.tools import compare, report
from tests.bundle import conftest as shared


@pytest.fixture(scope="module", params=list(TASKS))
def made(request, tmp_path_factory, cache_dir):
    if request.param == "toy":  # of the contract, where both run in one process
        pytest.skip("not one of medjax's")
    return shared.made(request.param, tmp_path_factory, cache_dir)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.98765", "0.988"),
        ("1e-05", "0.000"),
        ("12_3", "12_3"),
        ("1e3x", "1e3x"),
        ("016", "016"),
        ("12345678901234567891", "12345678901234567891"),
        (7, "7"),
        (0.5, "0.500"),
        (None, ""),
    ],
)
def test_cells_are_numbers_only_where_they_are(value, shown):
    assert cell(value) == shown


class Links(html.parser.HTMLParser):
    """What a page would fetch or run."""

    def __init__(self):
        super().__init__()
        self.sources, self.tags, self.without_text = [], set(), 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.without_text += tag == "img" and not given.get("alt")


def read(text):
    links = Links()
    links.feed(text)
    return links


def test_a_page_is_one_file_that_fetches_and_runs_nothing(made):
    text = (made.workdir / page.NAME).read_text()
    links = read(text)
    assert all(s.startswith(("data:", "#")) for s in links.sources)
    assert not links.tags & {"script", "iframe", "object", "embed", "form"}
    assert links.without_text == 0
    assert "@import" not in text
    assert "url(" not in text


def test_it_says_what_the_report_says_and_names_no_folder(made):
    text = (made.workdir / page.NAME).read_text()
    result = json.loads((made.workdir / "report.json").read_text())
    for name in result["metrics"]:
        assert f"<td>{name}</td>" in text
    assert result["weights_sha256"] in text
    assert result["device"] in text
    assert result["date"] in text
    for folder in (str(made.workdir), str(made.data), str(made.workdir.parent)):
        assert folder not in text
    assert "holds images of patients" in text
    rows = re.findall(r'href="#row-(\d+)"', text)
    assert rows
    lines = (made.workdir / "predictions.csv").read_text().splitlines()
    for row, case in zip(rows, re.findall(r"<strong>([^<]+)</strong><br>", text), strict=True):
        assert case in lines[int(row) - 1]


def test_without_images_it_holds_none(made, tmp_path):
    shutil.copytree(made.workdir, tmp_path / "run")
    report.main(report.Config((str(tmp_path / "run"),), page_images=False))
    text = (tmp_path / "run" / page.NAME).read_text()
    assert "Worst cases" not in text
    assert "holds no images of patients" in text
    captions = json.loads((made.workdir / "figures" / page.CAPTIONS).read_text())["pictures"]
    plain = [p for p in captions if not p["shows_images"]]
    assert text.count("<img") == len(plain) > 0


def without_numbers(value):
    if isinstance(value, dict):
        return {k: without_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_numbers(v) for v in value]
    return None if isinstance(value, float) else value


def test_what_is_undefined_is_said_to_be(made, tmp_path):
    """No number of a report is sure to be there: of few cases any may be undefined."""
    shutil.copytree(made.workdir, tmp_path / "run")
    path = tmp_path / "run" / "report.json"
    result = json.loads(path.read_text())
    numbers = ("metrics", "baseline", "seeds", "beside", "compared", "classes", "landmarks")
    bare = {k: without_numbers(v) if k in numbers else v for k, v in result.items()}
    if "conformal" in bare:
        bare["conformal"]["coverage"] = None
    path.write_text(json.dumps(bare))
    text = page.render_run(tmp_path / "run")
    assert "undefined" in text
    assert ">nan<" not in text


def test_words_of_strangers_stay_words(made, tmp_path):
    shutil.copytree(made.workdir, tmp_path / "run")
    path = tmp_path / "run" / "report.json"
    result = json.loads(path.read_text())
    result["dataset"] = "<script>alert(1)</script>"
    result["notes"] = ["<img src=x onerror=alert(1)>"]
    path.write_text(json.dumps(result))
    text = page.render_run(tmp_path / "run")
    links = read(text)
    assert "script" not in links.tags
    assert "x" not in links.sources
    assert "&lt;script&gt;" in text


def test_a_run_that_has_not_finished_is_marked(made, tmp_path):
    shutil.copytree(made.workdir, tmp_path / "run")
    (tmp_path / "run" / "report.json").unlink()
    shutil.rmtree(tmp_path / "run" / "figures")
    page.write_run(tmp_path / "run")
    text = (tmp_path / "run" / page.NAME).read_text()
    assert "This run has not finished." in text
    assert text.count("<img") == 1  # the learning curve


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no run of medjax in it"):
        page.write_run(tmp_path)
    with pytest.raises(UserError, match="name the work directory"):
        report.main(report.Config())


@pytest.mark.parametrize(
    ("estimate", "options", "expected"),
    [
        ((0.5, 0.25, 0.75), {"baseline": 0.1}, (100.0, 50.0, 150.0, 20.0, None)),
        ((-0.5, -1.0, 0.5), {"around_zero": True}, (52.4, 4.8, 147.6, None, 100.0)),
        ((2.0, float("nan"), float("nan")), {"baseline": 4.0}, (95.2, None, None, 190.5, None)),
    ],
)
def test_where_bars_lie(estimate, options, expected):
    """On 200 units: from 0 to 1, from -1.05 to 1.05 of the farthest, from 0 to 1.05 of it."""
    bar = draw_bar(Estimate(*estimate), **options)
    assert tuple(bar[k] for k in ("value", "low", "high", "baseline", "zero")) == expected


def test_a_page_of_a_comparison(tmp_path, tmp_path_factory, cache_dir):
    made = shared.made("classify", tmp_path_factory, cache_dir)
    out = tmp_path / "compared.html"
    names = (str(made.workdir), str(made.workdir), str(made.workdir))
    compare.main(compare.Config(names, samples=20, html=str(out)))
    text = out.read_text()
    links = read(text)
    assert all(s.startswith("data:") for s in links.sources)
    assert "B against A" in text
    assert "C against A" in text
    assert "p (Holm)" in text
    assert str(made.workdir.parent) not in text


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ASK = """<script>
window.onload = () => {
  const images = [...document.images];
  const bad = images.filter(i => !i.complete || i.naturalWidth === 0).length;
  document.title = JSON.stringify({images: images.length, bad: bad,
    wide: document.documentElement.scrollWidth > window.innerWidth});
};
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [400, 1200])
def test_in_a_browser_every_image_loads_and_nothing_is_too_wide(made, tmp_path, width):
    """A copy of the page asks itself; the page as it is has no scripts."""
    text = (made.workdir / page.NAME).read_text()
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", _ASK))
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
        "--dump-dom",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    asked = json.loads(title[1].replace("&quot;", '"'))
    assert asked["images"] > 0
    assert asked["bad"] == 0
    assert not asked["wide"]
    assert "CONSOLE" not in done.stderr
