import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses
from jrank.errors import TrainError
from jrank.metrics import ndcg_metric
from jrank.models import MLPRanker
from jrank.training import fit_ranker, loss_names, named_loss
from jrank.training._objectives import as_loss, keyed


def test_names_are_those_of_the_losses():
    scores, labels = jnp.array([[0.3, -0.2, 1.0]]), jnp.array([[1.0, 0.0, 2.0]])
    assert named_loss("softmax") is losses.softmax_loss
    assert named_loss("Pairwise_Hinge_Loss") is losses.pairwise_hinge_loss
    weighted = functools.partial(losses.dcg_lambdaweight, normalize=True)
    np.testing.assert_array_equal(
        named_loss("lambdarank")(scores, labels),
        losses.pairwise_logistic_loss(scores, labels, lambdaweight_fn=weighted),
    )
    # NDCG of soft ranks: minus the metric, to within the softness.
    assert -float(named_loss("approx-ndcg")(scores * 1000, labels)) == pytest.approx(
        float(ndcg_metric(scores, labels)), abs=1e-5
    )


KEY = jax.random.key(0)
SAMPLED = ("gumbel-approx-ndcg", "pl-rank", "policy-gradient")


def test_losses_that_sample_are_given_a_key():
    for name in SAMPLED:
        loss = functools.partial(named_loss(name))
        assert keyed(loss) is loss
    # A key that is fixed already, and one that has another use, stay.
    for loss in (functools.partial(losses.pl_rank_loss, key=KEY), losses.listmle_loss, losses.softmax_loss):
        assert keyed(loss) is not loss

    def needs_a_key(scores, labels, *, where, key):
        return jax.random.uniform(key)

    assert keyed(needs_a_key)(None, None, where=None, key=KEY) == jax.random.uniform(KEY)
    scores, labels, where = jnp.array([[0.3, -0.2, 1.0]]), jnp.array([[1.0, 0.0, 2.0]]), jnp.ones((1, 3), bool)
    got = keyed(losses.softmax_loss)(scores, labels, where=where, key=KEY)
    np.testing.assert_array_equal(got, losses.softmax_loss(scores, labels, where=where))


@pytest.mark.parametrize("name", SAMPLED)
def test_a_ranker_learns_from_samples(name):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(16, 5, 3)).astype(np.float32)
    labels = (features[..., 0] > np.median(features[..., 0], axis=1, keepdims=True)).astype(np.float32)
    model = MLPRanker(3, hidden=(), seed=0)
    options = {"epochs": 60, "batch_size": 16, "learning_rate": 0.1, "progress": False}
    done = fit_ranker(model, (features, labels), loss=name, **options)
    order = np.argsort(-np.asarray(done.model(features)), axis=1)
    assert np.mean(np.take_along_axis(labels, order, 1)[:, 0]) > 0.9
    assert len(set(done.history.loss)) > 1


def test_every_name_is_a_loss_of_scores_and_labels():
    scores, labels, where = jnp.zeros((1, 3)), jnp.array([[1.0, 0.0, 2.0]]), jnp.ones((1, 3), bool)
    for name in loss_names():
        loss = keyed(named_loss(name))
        # Shapes alone: nothing is compiled or run.
        value = jax.eval_shape(lambda s, y, m, k, loss=loss: loss(s, y, where=m, key=k), scores, labels, where, KEY)
        assert value.shape == ()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(TrainError, match=r"no loss 'softmx'.*softmax") as error:
        as_loss("softmx")
    assert error.value.reason == "invalid_parameter"
    assert all(name in str(error.value) for name in loss_names())


@pytest.mark.parametrize("loss", [None, 3, ["softmax"]])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(TrainError, match="a function or a name was expected"):
        as_loss(loss)
