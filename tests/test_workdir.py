"""What a work directory keeps of its run, and what may differ when it is opened again."""

import dataclasses

import pytest

from medjax import workdir
from medjax.config import option
from medjax.errors import UserError
from tests.test_app import Config, Usual


def test_steps_may_grow_and_not_shrink(tmp_path, capsys):
    with workdir.open_workdir(tmp_path / "w", "e", Usual(steps=5)):
        pass
    workdir.check_workdir(tmp_path / "w", "e", Usual(steps=9))
    assert "`steps` grows from 5 to 9" in capsys.readouterr().out
    with pytest.raises(UserError, match="steps was 5, is 4"):
        workdir.check_workdir(tmp_path / "w", "e", Usual(steps=4))
    with pytest.raises(UserError, match="batch was 1, is 2"):
        workdir.check_workdir(tmp_path / "w", "e", Usual(steps=9, batch=2))
    with pytest.raises(UserError, match="steps was 5, is 9"):  # nothing would be trained
        workdir.check_workdir(tmp_path / "w", "e", Usual(steps=9, eval_only=True))


@dataclasses.dataclass(frozen=True)
class Answering:
    width: int = option(4, "x")
    views: int = option(1, "x", answers=True)
    eval_only: bool = option(False, "x", free=True)


def test_how_a_network_answers_may_change_when_it_is_evaluated(tmp_path):
    """Which stands among the settings, and again where bundles read it."""
    with workdir.open_workdir(tmp_path / "w", "e", Answering(), how={"width": 4, "views": 1}):
        pass
    more = {"how": {"width": 4, "views": 2}}
    with pytest.raises(UserError, match="views was 1, is 2"):
        workdir.check_workdir(tmp_path / "w", "e", Answering(views=2), **more)
    workdir.check_workdir(tmp_path / "w", "e", Answering(views=2, eval_only=True), **more)
    with pytest.raises(UserError, match="width was 4, is 8"):
        workdir.check_workdir(tmp_path / "w", "e", Answering(width=8, eval_only=True))


def test_facts_that_an_older_version_did_not_know_change_nothing(tmp_path):
    older, newer = ({"trained": {"info": {"name": "a", **more}}} for more in ({}, {"side": 0}))
    with workdir.open_workdir(tmp_path / "w", "e", Config(), **older):
        pass
    workdir.check_workdir(tmp_path / "w", "e", Config(), **newer)
    workdir.check_workdir(tmp_path / "w", "e", Config(), trained={**newer["trained"], "scale": []})
    newer["trained"]["info"]["side"] = 512
    with pytest.raises(UserError, match=r"trained.info.side was None, is 512"):
        workdir.check_workdir(tmp_path / "w", "e", Config(), **newer)


def test_a_work_directory_holds_one_run(tmp_path):
    folder = tmp_path / "run"
    workdir.check_workdir(folder, "classify", Config())
    assert not folder.exists()
    with workdir.open_workdir(folder, "classify", Config(), data="a"):
        workdir.check_workdir(folder, "classify", Config(where="elsewhere"))
        with (
            pytest.raises(UserError, match="another process is at work in it"),
            workdir.open_workdir(folder, "classify", Config(), data="a"),
        ):
            pass
    with (
        pytest.raises(UserError, match="data was 'a', is 'b'"),
        workdir.open_workdir(folder, "classify", Config(), data="b"),
    ):
        pass
    with pytest.raises(UserError, match="size was 3, is 4"):
        workdir.check_workdir(folder, "classify", Config(size=4))
    with pytest.raises(UserError, match="experiment was 'classify', is 'other'"):
        workdir.check_workdir(folder, "other", Config())
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable"):
        workdir.check_workdir(folder, "classify", Config())


def test_a_run_goes_on_from_the_weights_that_it_began_with(tmp_path):
    for name, facts in (("newer", {"started_from": "a"}), ("older", {})):
        with workdir.open_workdir(tmp_path / name, "e", Config(), data_sha1="d", **facts):
            pass
        workdir.check_workdir(tmp_path / name, "e", Config(), data_sha1="d", started_from="a")
    for facts in ({"started_from": "b"}, {}):
        with pytest.raises(UserError, match="the weights that it starts from"):
            workdir.check_workdir(tmp_path / "newer", "e", Config(), data_sha1="d", **facts)


def test_weights_to_start_from_may_move(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Started:
        init_from: str = option("", "weights", path=True)

    facts = {"data_sha1": "d", "started_from": "a"}
    with workdir.open_workdir(tmp_path / "w", "e", Started("there"), **facts):
        pass
    workdir.check_workdir(tmp_path / "w", "e", Started("elsewhere"), **facts)
    workdir.check_workdir(tmp_path / "w", "e", Started())  # before anything of them is known
    with pytest.raises(UserError, match="the weights that it starts from"):
        workdir.check_workdir(tmp_path / "w", "e", Started(), data_sha1="d")
