import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses
from jrank.errors import TrainError
from jrank.metrics import ndcg_metric
from jrank.training import loss_names, named_loss
from jrank.training._objectives import as_loss


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


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(TrainError, match=r"no loss 'softmx'.*softmax") as error:
        as_loss("softmx")
    assert error.value.reason == "invalid_parameter"
    assert all(name in str(error.value) for name in loss_names())


@pytest.mark.parametrize("loss", [None, 3, ["softmax"]])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(TrainError, match="a function or a name was expected"):
        as_loss(loss)
