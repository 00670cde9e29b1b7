"""`experiments.share` through its real flags."""

import pytest

from medjax import app, bundle
from medjax.bundle import archive
from medjax.errors import UserError
from medjax.tools import share
from tests.bundle.conftest import Shared, made, rewritten


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, cache_dir) -> Shared:
    return made("classify", tmp_path_factory, cache_dir)


def run(*arguments):
    share.main(app.parse(share.Config, ["share", *map(str, arguments)], "share"))


def test_made_verified_shown(classifier, tmp_path, capsys):
    for target in (tmp_path / "b", tmp_path / "b.zip"):
        run(
            "make",
            classifier.workdir,
            target,
            "--stablehlo",
            "--licence=CC-BY-4.0",
            "--limits=Only for squares.",
            "--authors=A. Author",
            "--name=squares",
        )
        assert f"wrote {target}: 6 files" in capsys.readouterr().out
        run("verify", target)
        out = capsys.readouterr().out
        assert "whole; 6 files" in out
        assert "nothing here proves who made it" in out
        run("show", target)
        out = capsys.readouterr().out
        assert all(word in out for word in ("classify, cnn", "auc", "bright, dark", "12 x 12 x 1"))
    card = (tmp_path / "b" / "README.md").read_text()
    for text in (
        "# squares",
        "CC-BY-4.0".lower(),
        "Only for squares.",
        "A. Author",
        "| auc |",
        "no medical device",
        "[",
        "model.stablehlo",
    ):
        assert text in card
    run("diff", tmp_path / "b", tmp_path / "b.zip")
    assert "the same" in capsys.readouterr().out
    with pytest.raises(UserError, match="is there already"):
        run("make", classifier.workdir, tmp_path / "b")


def test_differences_are_told(classifier, tmp_path, capsys):
    archive.write_folder(tmp_path / "a", classifier.files)
    archive.write_folder(tmp_path / "b", rewritten(classifier.files, how__tta=3))
    run("diff", tmp_path / "a", tmp_path / "b")
    out = capsys.readouterr().out
    assert "1 differences" in out
    assert "how: tta" in out


def test_signed(classifier, tmp_path, capsys):
    import subprocess

    for arguments in (
        ("genpkey", "-algorithm", "ed25519", "-out", "k.pem"),
        ("pkey", "-in", "k.pem", "-pubout", "-out", "k.pub"),
    ):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
    run("make", classifier.workdir, tmp_path / "b", f"--sign_key={tmp_path}/k.pem")
    run("verify", tmp_path / "b")
    assert "signed; give --public_key" in capsys.readouterr().out
    run("verify", tmp_path / "b", f"--public_key={tmp_path}/k.pub")
    assert "signed by the owner of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "unknown verb ''"),
        (("mak", "a", "b"), "did you mean make"),
        (("make", "a"), "needs 2 names, got 1"),
        (("verify", "nothing"), "nothing: no such"),
        (("make", "nothing", "b"), r"no such folder"),
    ],
)
def test_bad_calls_get_one_clear_line(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        run(*arguments)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_becomes_one(classifier, tmp_path):
    run("make", classifier.workdir, f"{tmp_path}/b", "--name=M\udcfcller")
    assert "M?ller" in (tmp_path / "b" / "README.md").read_text()


def test_names_that_look_like_markup_are_shown_as_they_are(classifier, tmp_path, capsys):
    import json

    content = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    numbers = json.loads(content["report.json"])
    numbers["metrics"]["[/x][link=a]b"] = numbers["metrics"]["auc"]
    archive.write_folder(
        tmp_path / "b", bundle.sealed({**content, "report.json": json.dumps(numbers).encode()})
    )
    run("show", tmp_path / "b")
    assert "[/x][link=a]b" in capsys.readouterr().out


def test_a_report_that_is_none_is_told(classifier, tmp_path):
    content = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    archive.write_folder(tmp_path / "b", bundle.sealed({**content, "report.json": b"{}"}))
    with pytest.raises(UserError, match="not that of a run"):
        run("show", tmp_path / "b")
