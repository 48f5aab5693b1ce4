import pickle

import pytest

from actors import errors

EXAMPLES = [
    errors.BundleProblem("bundles/demo", "no sluice.json there"),
    errors.DigestMismatch("bundles/demo", "config.json", "sha256:aa", "sha256:bb"),
    errors.CalibrationFailed("both kinds are needed", 0, 12),
    errors.DataRefused("labels.parquet, row 3", "unknown level 'x'"),
    errors.ExtraMissing("train", "sentence_transformers"),
    errors.TrainingStopped("out/states", "No space left on device"),
    errors.TriesSpent("bundles/tries.jsonl", 3),
    errors.DeviceMissing("cuda:3", ("cpu", "cuda:0")),
    errors.OutOfMemory("cuda:0", 65_536),
    errors.RowTooLong(512, 256),
    errors.ScoresDrifted("bundles/demo", "openvino int8", 0.25, 0.02),
]


def every_error(root: type[errors.ActorError] = errors.ActorError) -> set[type[errors.ActorError]]:
    return {root}.union(*(every_error(child) for child in root.__subclasses__()))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_facts_and_its_text_across_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_tells_each_of_its_facts(error):
    for fact in vars(error).values():
        for part in fact if isinstance(fact, tuple) else (fact,):
            assert str(part) in str(error)


def test_every_error_that_carries_facts_has_an_example_here():
    families = {errors.ActorError, errors.BundleError, errors.ScoringError}
    assert every_error() - families == {type(error) for error in EXAMPLES}
