"""The real weights: golden values, parity with an independent forward pass, texts in batches."""

import numpy as np
import pytest

from jrank import models
from jrank.errors import ModelError

pytestmark = pytest.mark.weights

PAIRS = [("What is the capital of France?", "Paris is the capital of France."), ("a", "b")]


@pytest.fixture(scope="module")
def directory():
    try:
        return models.find_weights(download=False)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(directory):
    return models.CrossEncoder.from_pretrained(directory)


def test_tokens_of_the_golden_pairs(model):
    encoded = model.tokenizer.encode_pairs(PAIRS, max_length=512)
    france = [101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102, 3000, 2003, 1996, 3007, 1997, 2605, 1012, 102]
    assert [ids.tolist() for ids in encoded.ids] == [france, [101, 1037, 102, 1038, 102]]
    assert [types.tolist() for types in encoded.type_ids] == [[0] * 9 + [1] * 8, [0, 0, 0, 1, 1]]


def test_golden_hidden_states_and_pooler(model):
    # Values of a float64 BertModel of another library on the same weights.
    ids, mask, types = model.tokenizer.pad(model.tokenizer.encode_pairs(PAIRS, max_length=512))
    hidden = np.asarray(models.encode(model.params, model.config, ids, mask, types), np.float64)
    pooler = model.params["pooler"]
    pooled = np.tanh(hidden[:, 0] @ np.asarray(pooler["kernel"], np.float64) + np.asarray(pooler["bias"], np.float64))
    np.testing.assert_allclose(hidden[0, 0, :4], [0.366306, 0.138262, 0.375465, -0.258963], atol=1e-5)
    np.testing.assert_allclose(hidden[1, 0, :4], [-0.212237, -0.202938, 0.071526, -0.059539], atol=1e-5)
    np.testing.assert_allclose(np.abs(hidden[0]).sum(), 1704.8386, atol=1e-3)
    np.testing.assert_allclose(np.abs(hidden[1, :5]).sum(), 689.3245, atol=1e-3)
    np.testing.assert_allclose(pooled[0, :4], [0.07048, -0.070186, 0.048576, 0.103789], atol=1e-6)
    np.testing.assert_allclose(pooled[1, :4], [0.018485, 0.05654, 0.003464, 0.042578], atol=1e-6)
    np.testing.assert_allclose(pooled.sum(axis=1), [1.47893, 0.24358], atol=1e-5)
