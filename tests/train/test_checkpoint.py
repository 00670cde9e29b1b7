import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.train.checkpoint import Checkpoints

META = {"seconds": 1.0}


def tree(step: int):
    big = jax.random.normal(jax.random.key(step), (64, 64))
    return {"w": big, "half": big.astype(jnp.bfloat16), "step": jnp.int32(step)}


ABSTRACT = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0])
    ),
    tree(0),
)


def filled(folder, scores, **options):
    made = Checkpoints(folder, **options)
    for step, score in enumerate(scores, start=1):
        made.save(step, tree(step), score=score, meta={**META, "step": step})
    made.close()
    return Checkpoints(folder, **options)


def check(found, step):
    values, meta = found
    jax.tree.map(np.testing.assert_array_equal, values, tree(step))
    assert meta["step"] == step


def steps(folder):
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def test_newest_and_best_are_kept(tmp_path):
    made = filled(tmp_path / "c", [0.1, 0.9, 0.3, 0.2, 0.5])
    assert steps(tmp_path / "c") == [2, 4, 5]
    check(made.newest(ABSTRACT), 5)
    check(made.best(ABSTRACT), 2)


def test_an_undefined_score_does_not_displace_the_best(tmp_path):
    made = filled(tmp_path / "c", [0.1, 0.9, np.nan, np.nan, np.nan])
    assert 2 in steps(tmp_path / "c")
    check(made.best(ABSTRACT), 2)


def test_there_is_none(tmp_path):
    made = Checkpoints(tmp_path / "c")
    assert made.newest(ABSTRACT) is None
    with pytest.raises(UserError, match="train first"):
        made.best(ABSTRACT)


def data_files(folder):
    files = [f for f in folder.rglob("*") if f.is_file() and "/d/" in f.as_posix()]
    return max(files, key=lambda f: f.stat().st_size)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_damage_is_found_and_the_one_before_is_read(tmp_path, damage):
    said = []
    filled(tmp_path / "c", [0.1, 0.2, 0.3], say=said.append, keep=3)
    target = tmp_path / "c" / "3"
    if damage == "empty":
        (tmp_path / "c" / "7").mkdir()
    else:
        file = data_files(target / "state")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "delete":
            file.unlink()
        else:
            file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    made = Checkpoints(tmp_path / "c", say=said.append, keep=3)
    check(made.newest(ABSTRACT), 3 if damage == "empty" else 2)
    assert any("is damaged" in line for line in said)
    made.save(8, tree(8), score=1.0, meta={**META, "step": 8})
    made.close()
    check(Checkpoints(tmp_path / "c").newest(ABSTRACT), 8)


def test_a_damaged_best_falls_back_to_the_newest(tmp_path):
    said = []
    filled(tmp_path / "c", [0.9, 0.2, 0.3], keep=2)
    file = data_files(tmp_path / "c" / "1" / "state")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    check(Checkpoints(tmp_path / "c", say=said.append).best(ABSTRACT), 3)
    assert "the best checkpoint, 1, is damaged" in said[0]


def test_saving_a_step_twice_is_no_error(tmp_path):
    made = filled(tmp_path / "c", [0.1])
    made.save(1, tree(5), score=2.0, meta=META)
    made.close()
    check(Checkpoints(tmp_path / "c").newest(ABSTRACT), 1)


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path):
    made = Checkpoints(tmp_path / "c")
    (tmp_path / "c").rmdir()
    (tmp_path / "c").write_text("a file where the folder was")
    with pytest.raises(UserError, match="could not write a checkpoint"):
        made.save(1, tree(1), score=0.0, meta={**META, "step": 1})
        made.close()
