"""What a learning curve says."""

from medjax.experiment.remarks import remark_learning


def lines(*losses):
    return [
        {"step": 10 * i, "loss": train, "validation_loss": validation}
        for i, (train, validation) in enumerate(losses, 1)
    ]


def test_a_loss_that_rises_on_validation_while_training_falls():
    (remark,) = remark_learning(lines((1.0, 1.1), (0.6, 0.8), (0.1, 1.6)))
    assert "rose from 0.8 (step 20) to 1.6 (step 30)" in remark


def test_nothing_of_a_sound_curve_or_one_without_losses():
    assert remark_learning(lines((1.0, 1.1), (0.6, 0.8), (0.4, 0.82))) == []  # within noise
    assert remark_learning(lines((0.5, 0.8), (0.9, 1.6))) == []  # training got worse, too
    assert remark_learning([{"step": 1, "loss": 0.3}, {"step": 2}]) == []
    assert remark_learning([]) == []


def test_a_loss_below_nothing_has_to_rise_too():
    assert remark_learning(lines((1.0, -0.600), (0.9, -0.601), (0.8, -0.6005))) == []
    assert remark_learning(lines((1.0, -0.6), (0.9, -0.7), (0.8, -0.3)))
