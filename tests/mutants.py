"""Faults that were once possible without a test that fails, each with the test that fails now.

`tests/test_mutants.py` applies each to a copy of the project.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A text of a file that is replaced, and the test that must then fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


ANSWERS = "tests/bundle/test_answers.py::test_validation_chose_and_training_scaled"
LEAK = "tests/experiments/test_retrieve.py::test_what_is_fitted_does_not_see_the_queries"
MUTANTS = [
    Mutant(
        "the checkpoint is chosen on the test split",
        "medjax/experiment/training.py",
        'split = run.dataset.splits["validation"]',
        'split = run.dataset.splits["test"]',
        f"{ANSWERS}[classify]",
    ),
    Mutant(
        "weights of metadata are chosen on the queries",
        "experiments/retrieve.py",
        'validation=run.dataset.splits["validation"] if is_test else None',
        "validation=run.report_split",
        f"{LEAK}[svm]",
    ),
    Mutant(
        "what is fitted on the gallery sees the queries",
        "experiments/retrieve.py",
        "rivals.Gallery(predictor.plain, spec, train,",
        "rivals.Gallery(predictor.plain, spec, run.report_split,",
        f"{LEAK}[svm]",
    ),
    Mutant(
        "the checkpoint of agents is chosen on the test split",
        "experiments/search.py",
        'dataset.splits["validation"].first(',
        'dataset.splits["test"].first(',
        f"{ANSWERS}[search]",
    ),
    Mutant(
        "pixels are scaled by the test split",
        "experiments/classify.py",
        "experiment.fit_preprocessing(run, train)",
        'experiment.fit_preprocessing(run, run.dataset.splits["test"])',
        f"{ANSWERS}[classify]",
    ),
    Mutant(
        "a run begins again where it should go on",
        "medjax/train/run.py",
        "newest = checkpoints.newest(plan.abstract())",
        "newest = None",
        "tests/experiments/test_search.py::test_killed_and_resumed_it_ends_bit_equal",
    ),
    Mutant(
        "a run goes on from fresh weights",
        "medjax/train/run.py",
        "newest[0] if newest else None, start)",
        "None, start)",
        "tests/experiments/test_search.py::test_killed_and_resumed_it_ends_bit_equal",
    ),
    Mutant(
        "the replay holds where an agent came to as where it stood",
        "medjax/tasks/search/task.py",
        "_small(agents.position, max(sides)),\n        _small(after.position",
        "_small(after.position, max(sides)),\n        _small(after.position",
        "tests/tasks/search/test_task.py::test_drawn_crops_are_those_that_were_seen_when_acting",
    ),
    Mutant(
        "the replay mixes up teams",
        "medjax/rl/replay.py",
        "return jax.tree.map(lambda x: x[index, agent], ring.rows)",
        "return jax.tree.map(lambda x: x[index, agent - 1], ring.rows)",
        "tests/tasks/search/test_task.py::test_drawn_crops_are_those_that_were_seen_when_acting",
    ),
    Mutant(
        "one more subject moves another into test",
        "medjax/data/splits.py",
        'hashlib.sha1(f"{seed}/{subject}".encode())',
        'hashlib.sha1(f"{seed}/{subject[-1:]}".encode())',
        "tests/data/test_splits.py::test_shares_hold_on_average_in_each_class",
    ),
    Mutant(
        "the check sum of a volume is not reached",
        "medjax/data/nifti.py",
        "        _to_the_end(path, file, limit_bytes=limit_bytes)\n",
        "",
        "tests/data/test_nifti.py::test_one_flipped_bit_of_a_compressed_volume_is_found",
    ),
    Mutant(
        "subjects are images",
        "medjax/evaluation/spread.py",
        "_, index = np.unique(np.asarray(subjects), return_inverse=True)\n"
        "    count = int(index.max()) + 1\n    if count > _MOST_PARTS",
        "index = np.arange(len(subjects))\n"
        "    count = int(index.max()) + 1\n    if count > _MOST_PARTS",
        "tests/evaluation/test_stats.py::test_it_is_subjects_that_count",
    ),
    Mutant(
        "probabilities of two models are exchanged as they are",
        "medjax/evaluation/stats.py",
        "(traits.ranks(a), traits.ranks(b)) if traits.ranks else (a, b)",
        "(a, b)",
        "tests/evaluation/test_stats.py::test_scores_on_another_scale_are_compared_by_their_ranks",
    ),
    Mutant(
        "a seed names the ends of an axis otherwise, and they cancel",
        "medjax/ops/consensus.py",
        "order = jax.vmap(lambda p: align_pairs(p, pairs=pairs), 1, 1)(points)",
        "order = jnp.tile(jnp.arange(points.shape[2]), (*points.shape[:2], 1))",
        "tests/bundle/test_unordered.py",
    ),
]
