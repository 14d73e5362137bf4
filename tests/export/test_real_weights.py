"""A model of the usual size: its products take other paths through the runtime than those of tiny models."""

import concurrent.futures

import numpy as np
import pytest

from jrank import export, models, serving
from jrank.errors import ModelError


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("quantize", [None, "int8-weights", "float16-weights"])
def test_scores_do_not_depend_on_batch_padding_or_threads(tmp_path, quantize):
    try:
        model = models.CrossEncoder.from_pretrained(models.find_weights(download=False), num_labels=1)
    except ModelError as error:
        pytest.skip(str(error))
    export.to_onnx(model, tmp_path / "b", quantize=quantize)
    rng = np.random.default_rng(0)
    words = [word for word in model.tokenizer.tokens(range(model.tokenizer.vocab_size)) if word.isalpha()]
    pairs = [
        (" ".join(rng.choice(words, 4)), " ".join(rng.choice(words, int(rng.integers(1, 300))))) for _ in range(24)
    ]
    ranker = serving.CrossEncoder.from_file(tmp_path / "b", threads=1)
    want = ranker.score_batch(pairs).tolist()
    np.testing.assert_allclose(want, model.score(pairs), atol=1e-5 if quantize is None else 2e-2)
    assert [ranker.score(*pair) for pair in pairs] == want
    assert ranker.score_batch(pairs, batch_size=24, max_tokens=10**6).tolist() == want
    wide = serving.CrossEncoder.from_file(tmp_path / "b", threads=4, multiple_of=256)
    assert wide.score_batch(pairs).tolist() == want
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(list(pool.map(lambda _: ranker.score_batch(pairs[:8]).tolist() == want[:8], range(16))))
