"""Registration: losses by hand, pairs of any size, and one pair by itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy import ndimage
from scipy.spatial.transform import Rotation

import medjax
from medjax.data import geometry
from medjax.data.dataset import Dataset, Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.tasks.registration import task
from medjax.tasks.registration.method import AlignmentOptions
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.registration.suggest import suggest
from medjax.tasks.registration.task import RegistrationLoss

MSE = AlignmentOptions(similarity="mse", transform="displacement", smoothness=2.0)


class Shift(nn.Module):
    """Half a voxel of the coarser grid along the first axis, times a weight that starts at 1."""

    @nn.compact
    def __call__(self, x, *, train):
        amount = self.param("amount", nn.initializers.ones, ())
        half = [n // 2 for n in x.shape[1:-1]]
        u = jnp.zeros((x.shape[0], *half, len(half)))
        return u.at[..., 0].set(0.5 * amount)


SHIFT = Shift()


def make(options=MSE, *, network=SHIFT, space=(6, 7), **more):
    given = {"spacing": (), "divisor": 8, "structures": 1, "options": options, **more}
    return task.make(network, space=space, **given)


def batch_of(image, moving, mask=None, moved_mask=None):
    pair = np.stack([image, moving], -1).astype(np.uint8)[None]
    masks = np.zeros_like(pair) if mask is None else np.stack([mask, moved_mask], -1)[None]
    return {
        "image": pair,
        "mask": masks,
        "initial": np.eye(2, 3, dtype=np.float32)[None],
        "fixed_voxel_mm": np.ones((1, 2), np.float32),
    }


def test_boxes_of_the_correlation_have_the_side_that_is_given(rng):
    """By loops: of boxes that the image cuts off what is inside counts."""
    fixed, moving = rng.uniform(size=(2, 7, 6))
    correlations = []
    for i, j in itertools.product(range(7), range(6)):
        box = (slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2))
        correlations.append(np.corrcoef(fixed[box].ravel(), moving[box].ravel())[0, 1])
    found = AlignmentOptions(lncc_window=3).similarity_of(jnp.array(fixed), jnp.array(moving))
    assert found == pytest.approx(1 - np.square(correlations).mean(), abs=1e-3)


def test_losses_by_hand():
    """A shift of one voxel: what the moving image has one row further down."""
    image = np.zeros((6, 7), np.uint8)
    image[2, 3] = 255
    made = make(weights=RegistrationLoss(dice_weight=3.0, inverse_weight=5.0))
    params, stats = made.init(jax.random.key(0))
    seen = np.roll(image, 1, 0)
    _, (_, logs) = made.loss(
        jax.random.key(1), params, stats, batch_of(image, seen, image // 255, seen // 255)
    )
    assert float(logs["similarity_loss"]) == pytest.approx(0.0, abs=1e-7)
    assert float(logs["dice_loss"]) == pytest.approx(0.0, abs=1e-6)
    # There and back each 0.5 of the first component: 1 squared, of two components.
    assert float(logs["inverse_loss"]) == pytest.approx(5 * 0.5)
    _, (_, logs) = made.loss(
        jax.random.key(1), params, stats, batch_of(image, image, image // 255, image // 255)
    )
    assert float(logs["similarity_loss"]) == pytest.approx(2 / 64)  # of the padded 8 x 8
    assert float(logs["dice_loss"]) == pytest.approx(3.0)
    parts = [float(v) for k, v in logs.items() if k != "loss"]
    assert float(logs["loss"]) == pytest.approx(sum(parts))


def test_a_mask_that_is_missing_says_nothing():
    """Neither that of the fixed nor of the moving image pulls at the other one."""
    image, empty = np.eye(6, 7, dtype=np.uint8), np.zeros((6, 7), np.uint8)
    made = make(weights=RegistrationLoss(dice_weight=3.0))
    for masks in ((image, empty), (empty, image)):
        batch = batch_of(255 * image, 255 * image, *masks)
        _, (_, logs) = made.loss(jax.random.key(1), *made.init(jax.random.key(0)), batch)
        assert float(logs["dice_loss"]) == 0


def test_random_shapes_need_no_images():
    """Neither the images of the batch nor their masks matter."""
    made = make(structures=0, space=(16, 24), weights=RegistrationLoss(shapes=5))
    params, stats = made.init(jax.random.key(0))
    losses = [
        made.loss(jax.random.key(1), params, stats, batch_of(*2 * [np.full((16, 24), v)]))[0]
        for v in (0, 200)
    ]
    assert losses[0] == losses[1] > 0.1
    _, (_, logs) = made.loss(jax.random.key(1), params, stats, batch_of(*2 * [np.zeros((16, 24))]))
    assert set(logs) == {"loss", "smoothness_loss", "dice_loss"}


def test_without_masks_there_is_no_loss_of_them():
    made = make(structures=0, weights=RegistrationLoss(dice_weight=3.0))
    _, (_, logs) = made.loss(
        jax.random.key(1), *made.init(jax.random.key(0)), batch_of(*2 * [np.eye(6, 7)])
    )
    assert set(logs) == {"loss", "similarity_loss", "smoothness_loss"}


def test_sides_that_do_not_divide_are_padded():
    made = make(space=(6, 7))
    params, stats = made.init(jax.random.key(0))
    for shape, half in (((6, 7), (4, 4)), ((9, 16), (8, 8))):
        found = made.predict(params, stats, batch_of(*2 * [np.zeros(shape)]))
        assert found["displacement"].shape == (1, *half, 2)
    assert found["loss"].shape == (1,)


def test_augmentation_moves_images_with_their_masks(rng):
    vary = Augmentation(rotate_degrees=30.0, translate=0.1)
    pairs = task.PairRegistration(Shift(), (16, 16), (), MSE, 8, 1, vary)
    image = 0.2 + 0.8 * (np.hypot(*(np.indices((16, 16)) - 8.0)) < 5)
    moved, mask = pairs.vary(
        jax.random.key(3), jnp.asarray(image, jnp.float32), jnp.asarray(image > 0.5, jnp.uint8)
    )
    assert mask.dtype == jnp.uint8 and float(np.abs(moved - image).max()) > 0.3
    assert np.mean((np.asarray(moved) > 0.6) == np.asarray(mask)) > 0.97


def test_refined_it_is_no_worse(rng):
    """Steps from a network's answer on make its loss smaller."""
    image = ndimage.gaussian_filter(rng.random((16, 16)), 2.0)
    image = (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)
    batch = batch_of(image, np.roll(image, 2, 0))
    losses = []
    for steps in (0, 15):
        options = AlignmentOptions(similarity="mse", refine=steps, smoothness=0.001)
        made = make(options, space=(16, 16))
        losses.append(float(made.predict(*made.init(jax.random.key(0)), batch)["loss"][0]))
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"transform": "bspline"}, r"`transform=bspline` is of `method=optimise`"),
        ({"method": "optimise", "refine": 3}, r"`refine`: of a network"),
    ],
)
def test_settings_that_do_not_go_together(settings, told):
    with pytest.raises(UserError, match=told):
        AlignmentOptions(**settings)


def test_a_network_of_ones_own_must_answer_with_a_field():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return x

    info = DatasetInfo("x", pairing="all")
    spec = ModelSpec(info, Preprocessing(0.0, 255.0, (0.0,), (1.0,)), (8, 8, 2), "uint8")
    with pytest.raises(UserError, match="Plain"):
        RegistrationPredictor(own_network=Plain(), levels=2).make_task(spec)


def test_what_is_chosen_from_a_set():
    def read(i):
        raise AssertionError

    split = Split({}, ["a"] * 30, ["a"] * 30, [{}] * 30, read, (40, 48, 40, 2), np.dtype(np.uint8))
    chosen = {
        s.name: s.value for s in suggest(Dataset(DatasetInfo("x"), {"train": split}, ""), False)
    }
    assert chosen["batch"] == 1 and chosen["steps"] >= 300


@pytest.fixture(scope="module")
def volume():
    """A lump with structure, 1 mm voxels."""
    rng = np.random.default_rng(2)
    shape = (44, 48, 40)
    blobs = ndimage.gaussian_filter(rng.random(shape), 3.0)
    middle = (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    scale = np.array([15.0, 18.0, 13.0]).reshape(3, 1, 1, 1)
    inside = (((np.indices(shape) - middle) / scale) ** 2).sum(0) < 1
    smooth = ndimage.gaussian_filter(inside.astype(float), 1.0)
    return (1000 * smooth * (0.4 + (blobs - blobs.min()) / np.ptp(blobs))).astype(np.float32)


def turned(degrees, shift):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    out[:3, 3] = shift
    return out


@pytest.mark.slow
def test_a_known_pose_of_files_of_other_orientation_is_found(volume):
    """Within 0.1 degree and 0.1 mm; the moving file is stored from left to right and coarser."""
    world = geometry.scaling(np.ones(3), np.array([-22.0, -24.0, -20.0]))
    pose = turned([4.0, -3.0, 6.0], [1.5, -2.0, 1.0])  # from fixed to moving places
    other = np.diag([-1.2, 1.1, 1.15, 1.0])
    other[:3, 3] = [24.0, -25.0, -22.0]
    places = geometry.apply(other, np.moveaxis(np.indices((42, 46, 40)), 0, -1).astype(float))
    index = geometry.apply(np.linalg.inv(world), geometry.apply(np.linalg.inv(pose), places))
    moving = ndimage.map_coordinates(volume, np.moveaxis(index, -1, 0), order=3)
    found = medjax.register(
        volume,
        moving,
        fixed_affine=world,
        moving_affine=other,
        affine="rigid",
        iterations=0,
    )
    away = np.linalg.inv(pose) @ found.affine
    angle = Rotation.from_matrix(away[:3, :3]).magnitude()
    assert np.rad2deg(angle) < 0.1
    centre = geometry.apply(world, np.array([[21.5, 23.5, 19.5]]))
    assert np.linalg.norm(geometry.apply(away, centre) - centre) < 0.1
    linear = found.affine[:3, :3]
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-5)


def test_one_pair_of_pictures():
    """A bright disc that is moved and grows, found without training."""
    places = np.indices((32, 32))
    fixed = 200.0 * (np.hypot(*(places - 15.0)) < 8)
    moving = 200.0 * (np.hypot(places[0] - 18.0, places[1] - 14.0) < 9)
    fixed, moving = (ndimage.gaussian_filter(x, 1.5) for x in (fixed, moving))
    transform = medjax.register(fixed, moving, affine="none", iterations=25)
    world = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x, y of row, column
    seen = transform.warp_image(moving, world)
    assert np.abs(seen - fixed).mean() < 0.35 * np.abs(moving - fixed).mean()
    assert (transform.jacobian_determinant() > 0).all()


def test_a_turn_is_one_in_the_world(rng):
    """Of flat voxels too: distances between points stay as they are."""
    image = ndimage.gaussian_filter(rng.uniform(size=(24, 20, 8)), (3, 3, 1)) * 1e4
    world = np.diag([1.0, 1.0, 4.0, 1.0])
    moving = ndimage.rotate(image, 8, axes=(0, 2), reshape=False)
    transform = medjax.register(
        image, moving, fixed_affine=world, moving_affine=world, affine="rigid", iterations=0
    )
    points = np.array([[2.0, 3, 4], [20, 3, 4], [2, 16, 4], [2, 3, 28]])
    moved = transform.move_points(points)
    for i, j in itertools.combinations(range(4), 2):
        before, after = (np.linalg.norm(p[i] - p[j]) for p in (points, moved))
        assert after == pytest.approx(before, rel=1e-3)
    assert np.abs(moved - points).max() > 0.2


def test_turns_of_pairs_of_several_spacings_are_turns(rng):
    """Each by the voxels of its own fixed image, whichever stand beside it."""
    image = ndimage.gaussian_filter(rng.uniform(size=(16, 24)), 2) * 1e3
    moving = ndimage.rotate(image, 10, reshape=False, mode="nearest")
    one = batch_of(image, moving)
    batch = {name: np.concatenate([values] * 2) for name, values in one.items()}
    batch["fixed_voxel_mm"] = np.array([[1.0, 1.0], [3.0, 1.0]], np.float32)
    options = AlignmentOptions(method="optimise", similarity="mse", affine="rigid", iterations=0)
    both = make(options, network=None, space=(16, 24)).predict
    for matrix, size in zip(
        jax.jit(both)({}, {}, batch)["matrix"], batch["fixed_voxel_mm"], strict=True
    ):
        turn = size[:, None] * np.asarray(matrix)[:, :2] / size
        np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-4)
        assert abs(turn[0, 1]) > 0.01


def test_there_and_back_is_the_identity_in_frames_of_any_kind():
    """A shift by t of the fixed image is one by -L t of the moving one."""
    matrix = np.array([[0, -2.0, 0, 30], [1.0, 0, 0, 2], [0, 0, 0.5, 3]])
    shift = np.array([0.3, -0.4, 0.2])
    u = np.broadcast_to(shift, (6, 5, 4, 3)).astype(np.float32)
    back = np.broadcast_to(-matrix[:, :3] @ shift, (5, 6, 7, 3)).astype(np.float32)
    found = task.return_error(jnp.asarray(u), jnp.asarray(back), jnp.asarray(matrix, jnp.float32))
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_what_one_pair_needs():
    picture = np.zeros((16, 16))
    with pytest.raises(UserError, match="`method=network`: of trained networks"):
        medjax.register(picture, picture, method="network")
    with pytest.raises(UserError, match="unknown setting"):
        medjax.register(picture, picture, iteration=3)
    for wrong in (
        {"affine": "rigd"},
        {"transform": "foo"},
        {"initial": "World"},
        {"smoothness": None},
        {"fixed_affine": np.eye(4)},
    ):
        with pytest.raises(UserError, match=next(iter(wrong))):
            medjax.register(picture, picture, **wrong)
    for array in (np.zeros(8), np.zeros((0, 8)), picture.astype(complex), picture.astype(str)):
        with pytest.raises(UserError, match="`moving`: an array of"):
            medjax.register(picture, array)
    with pytest.raises(UserError, match=r"a\.png: is both the fixed and the moving image"):
        medjax.register("a.png", "./a.png")
    away = np.diag([1.0, 1.0, 1.0, 1.0])
    away[:3, 3] = 300.0
    with pytest.raises(UserError, match="do not overlap"):
        medjax.register(
            np.zeros((8, 8, 8)), np.zeros((8, 8, 8)), fixed_affine=np.eye(4), moving_affine=away
        )
    unknown = np.full((8, 8, 8), np.nan)
    with pytest.raises(UserError, match="the moving image: has values that are not finite"):
        medjax.register(np.zeros((8, 8, 8)), unknown)
    with pytest.raises(UserError, match="has 3 axes"):
        medjax.register(picture, np.zeros((8, 8, 8)))
