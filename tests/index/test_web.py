"""The page of an index: as requests, and in a real browser."""

import contextlib
import re
import shutil
import subprocess
import sys

import pytest

import medjax
from medjax.index import web
from medjax.outputs.base import ImageHints
from tests.conftest import ROOT
from tests.index.test_index import run_here


@pytest.fixture
def made(network, pictures, tmp_path, cache_dir):
    folder = tmp_path / "my_index"
    run_here("make", network.workdir, folder, pictures, cache_dir=cache_dir)
    return folder


@pytest.fixture
def client(made):
    testing = pytest.importorskip("starlette.testclient", reason="needs httpx")
    index = medjax.open_index(made)
    app = web.make_app(
        index, name="my_index", host="127.0.0.1", limit_bytes=2000, hints=ImageHints()
    )
    with testing.TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_an_image_is_answered_with_cases(client, pictures):
    body = (pictures / "case_0.png").read_bytes()
    given = {"name": "case_0.png", "k": 3, "subject": "a", "where": "age>=42"}
    answer = client.post("/search", params=given, content=body).json()
    assert len(answer["cases"]) == 3
    assert {c["subject_id"] for c in answer["cases"]} <= {"b", "c", "d"}
    assert answer["picture"].startswith("data:image/png;base64,")
    assert answer["notes"] == ["1 without age passed over", "1 with the same file passed over"]
    number = answer["cases"][0]["number"]
    picture = client.get(f"/pictures/{number}.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_the_page_has_a_filter_for_each_metadata(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert re.search(r'<option value="F">F \(4\)', page.text)
    assert "age, 40 to 47" in page.text
    assert client.get("/index.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/index.css").status_code == 200


@pytest.mark.parametrize(
    ("given", "body", "complaint"),
    [
        ({"name": "x.png"}, b"no picture", "image.png"),
        ({"name": "x.exe"}, b"MZ", "image"),
        ({"name": "../../" + "x" * 300 + ".png"}, b"", "image.png"),
        ({"name": "x.png", "k": "0"}, b"", "from 1 to 50"),
        ({"name": "x.png", "k": "many"}, b"", "from 1 to 50"),
        ({"name": "x.png", "where": "age"}, b"", "where=age"),
    ],
)
def test_what_cannot_be_answered_is_one_line(client, given, body, complaint):
    response = client.post("/search", params=given, content=body)
    assert response.status_code == 400
    assert complaint in response.json()["error"]
    assert "/tmp" not in response.json()["error"]


def test_uploads_are_bounded(client):
    response = client.post("/search", params={"name": "x.png"}, content=b"x" * 2001)
    assert response.status_code == 413
    assert "larger than" in response.json()["error"]


@pytest.mark.parametrize(
    "path", ["/pictures/999.png", "/pictures/../cases.sqlite", "/cases.sqlite", "/index.html.j2"]
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_requests_for_another_host_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


COMMAND = (sys.executable, "-m", "medjax", "index")


@contextlib.contextmanager
def serving(folder, cache_dir):
    """The address of `medjax index serve`, in a process of its own."""
    process = subprocess.Popen(
        [*COMMAND, "serve", folder, "--port=0", f"--cache_dir={cache_dir}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "")
        yield next(m[0] for line in lines if (m := re.search(r"http://\S+", line)))
    finally:
        process.terminate()
        process.wait(20)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1100,900"
)


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    driver = shutil.which("chromedriver")
    if not CHROMIUM or not driver:
        pytest.skip("no Chromium and ChromeDriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in _FLAGS.split():
        options.add_argument(flag)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.mark.slow
def test_in_a_browser_an_image_finds_its_neighbours(made, pictures, cache_dir, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    def find(selector):
        return browser.find_element("css selector", selector)

    def wait_for(text):
        WebDriverWait(browser, 30).until(lambda _: text in find("#message").text)

    with serving(made, cache_dir) as address:
        browser.get(address)
        find("#file").send_keys(str(pictures / "case_0.png"))
        wait_for("5 cases")
        shown = browser.find_elements("css selector", "#cases img")
        assert len(shown) == 6
        widths = "return [...document.images].map(i => i.naturalWidth)"
        WebDriverWait(browser, 10).until(lambda _: all(browser.execute_script(widths)))
        find("select[data-name=sex]").send_keys("M")
        wait_for("4 cases")
        assert "sex: M" in find("#cases").text
        assert "sex: F" not in find("#cases").text
        find("#file").send_keys(str(pictures / "metadata.csv"))
        WebDriverWait(browser, 30).until(
            lambda _: "error" in find("#message").get_attribute("class")
        )
        assert not find("#answer").is_displayed()
        assert not [e for e in browser.get_log("browser") if "400" not in e["message"]]
