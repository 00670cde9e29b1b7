import numpy as np

from medjax.data import hand


def test_a_hand_is_drawn_where_its_points_are():
    image, points = hand.draw(0, 3)
    assert image.shape == (96, 96, 1)
    assert len(points) == len(hand.names(7)) == 37
    row, column = np.rint(points).astype(int).T
    assert image[row, column, 0].min() > 1.5 * np.median(image)
    np.testing.assert_array_equal(image, hand.draw(0, 3)[0])


def test_fingers_have_one_length_and_stand_in_order():
    _, points = hand.draw(1, 0, joints=2)
    fingers = points[:10].reshape(5, 2, 2)
    lengths = np.linalg.norm(fingers[:, 1] - fingers[:, 0], axis=-1)
    np.testing.assert_allclose(lengths, lengths[0])
    away = fingers[:, 1] - points[10:].mean(0)
    angle = np.arctan2(away[:, 1], -away[:, 0])
    assert (np.diff(angle) > 0).all()


def test_the_hand_turns_further_than_the_angle_between_fingers():
    angles = []
    for i in range(60):
        _, points = hand.draw(2, i, joints=2)
        away = points[5] - points[10:].mean(0)  # the tip of the middle finger
        angles.append(np.degrees(np.arctan2(away[1], -away[0])))
    assert np.ptp(angles) > 3 * 18
