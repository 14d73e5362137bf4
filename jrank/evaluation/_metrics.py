"""The table of metrics, and how their names are read."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jrank.errors import EvalError, did_you_mean
from jrank.evaluation import _binary, _diversity, _graded, _pooling, _readers
from jrank.evaluation._groups import by_judge, by_subtopic
from jrank.evaluation._judged import Judged
from jrank.evaluation._preferences import PREFERENCE_METRICS

__all__ = ["METRICS", "Measure", "Metric", "list_metrics", "parse_metric"]


@dataclass(frozen=True)
class Metric:
    """A line of the table.

    Attributes:
      fn: the join of judgments and a run, a cut-off or None, and parameters -> one value per query.
      params: the names of the parameters.
      cutoff: "no", "optional" or "required".
      defaults: parameters that differ from those of ``fn``.
      mean: how values of queries become one: "mean", "sum", or "geometric" (values below 1e-5 count as that).
      groups: what the judgments must be grouped by: "" for plain judgments, "subtopics", "judges" or "preferences".
    """

    fn: Callable[..., np.ndarray]
    params: tuple[str, ...] = ("rel",)
    cutoff: str = "optional"
    defaults: dict[str, Any] = field(default_factory=dict)
    mean: str = "mean"
    groups: str = ""


# Name -> metric. A new metric is one function and one line.
METRICS: dict[str, Metric] = {
    "ndcg": Metric(_graded.ndcg, ("gain",)),
    "dcg": Metric(_graded.dcg, ("gain",)),
    "ndcg_exp": Metric(_graded.ndcg, (), defaults={"gain": "exp"}),
    "dcg_exp": Metric(_graded.dcg, (), defaults={"gain": "exp"}),
    "err": Metric(_graded.err, ("max_grade",)),
    "rbp": Metric(_graded.rbp, ("p", "scale", "rel")),
    "map": Metric(_binary.average_precision),
    "gm_map": Metric(_binary.average_precision, mean="geometric"),
    "yaap": Metric(_binary.yaap, cutoff="no"),
    "mrr": Metric(_binary.reciprocal_rank),
    "precision": Metric(_binary.precision),
    "recall": Metric(_binary.recall),
    "f": Metric(_binary.f_measure, ("beta", "rel")),
    "success": Metric(_binary.success),
    "hits": Metric(_binary.hits),
    "rprec": Metric(_binary.r_precision, ("x", "rel"), "no"),
    "relative_precision": Metric(_binary.relative_precision),
    "set_map": Metric(_binary.set_average_precision, cutoff="no"),
    "iprec": Metric(_binary.interpolated_precision, ("recall", "rel"), "no"),
    "utility": Metric(_binary.utility, ("a", "b", "c", "d", "rel"), "no"),
    "bpref": Metric(_pooling.bpref, cutoff="no"),
    "gm_bpref": Metric(_pooling.bpref, cutoff="no", mean="geometric"),
    "infap": Metric(_pooling.inferred_ap, cutoff="no"),
    "rbp_resid": Metric(_pooling.rbp_residual, ("p",), "no"),
    "g": Metric(_graded.gain_average, (), "no"),
    "bing": Metric(_graded.graded_precision, cutoff="no"),
    "ndcg_rel": Metric(_graded.ndcg_at_relevant, (), "no"),
    "rndcg": Metric(_graded.ndcg_at_levels, (), "no"),
    "judged": Metric(_pooling.judged_fraction, ()),
    "unjudged": Metric(_pooling.unjudged_fraction, ()),
    "accuracy": Metric(_readers.accuracy),
    "compat": Metric(_readers.compat, ("p",), "no"),
    "inst": Metric(_readers.inst, ("t", "max_grade"), "no"),
    "insq": Metric(_readers.insq, ("t", "max_grade"), "no"),
    "bpm": Metric(_readers.bpm, ("t", "max_grade"), "required"),
    "sdcg": Metric(_readers.sdcg, ("max_grade",), "required"),
    "nerr8": Metric(_readers.nerr8, ("max_grade",), "required"),
    "nerr9": Metric(_readers.nerr9, ("max_grade",), "required"),
    "nerr10": Metric(_readers.nerr10, ("p", "max_grade"), "no"),
    "nerr11": Metric(_readers.nerr11, ("t", "max_grade"), "no"),
    "alpha_dcg": Metric(_diversity.alpha_dcg, ("alpha", "rel"), groups="subtopics"),
    "alpha_ndcg": Metric(_diversity.alpha_ndcg, ("alpha", "rel"), groups="subtopics"),
    "err_ia": Metric(_diversity.err_ia, ("alpha", "rel"), groups="subtopics"),
    "nerr_ia": Metric(_diversity.nerr_ia, ("alpha", "rel"), groups="subtopics"),
    "nrbp": Metric(_diversity.nrbp, ("alpha", "beta", "rel"), "no", groups="subtopics"),
    "nnrbp": Metric(_diversity.nnrbp, ("alpha", "beta", "rel"), "no", groups="subtopics"),
    "strec": Metric(_diversity.subtopic_recall, groups="subtopics"),
    "map_ia": Metric(by_subtopic(_binary.average_precision), groups="subtopics"),
    "precision_ia": Metric(by_subtopic(_binary.precision), groups="subtopics"),
    "ndcg_ia": Metric(by_subtopic(_graded.ndcg), ("gain",), groups="subtopics"),
    "map_avgjg": Metric(by_judge(_binary.average_precision), groups="judges"),
    "precision_avgjg": Metric(by_judge(_binary.precision), groups="judges"),
    "rprec_avgjg": Metric(by_judge(_binary.r_precision), ("x", "rel"), "no", groups="judges"),
    **{name: Metric(fn, (), "no", mean=mean, groups="preferences") for name, (fn, mean) in PREFERENCE_METRICS.items()},
    "num_ret": Metric(_pooling.num_ret, (), "no", mean="sum"),
    "num_rel": Metric(_pooling.num_rel, cutoff="no", mean="sum"),
    "num_rel_ret": Metric(_pooling.num_rel_ret, cutoff="no", mean="sum"),
    "num_nonrel_judged_ret": Metric(_pooling.num_nonrel_judged_ret, cutoff="no", mean="sum"),
}

# What other programs call them.
ALIASES: dict[str, str] = {
    "ndcg_cut": "ndcg",
    "ndcg_burges": "ndcg_exp",
    "dcg_burges": "dcg_exp",
    "ap": "map",
    "map_cut": "map",
    "average_precision": "map",
    "gmap": "gm_map",
    "rr": "mrr",
    "recip_rank": "mrr",
    "reciprocal_rank": "mrr",
    "p": "precision",
    "prec": "precision",
    "set_p": "precision",
    "r": "recall",
    "set_recall": "recall",
    "f1": "f",
    "set_f": "f",
    "f_measure": "f",
    "hit_rate": "success",
    "hit": "success",
    "r_precision": "rprec",
    "r-precision": "rprec",
    "rprec_mult": "rprec",
    "relative_p": "relative_precision",
    "set_relative_p": "relative_precision",
    "iprec_at_recall": "iprec",
    "11pt_avg": "iprec",
    "11pt": "iprec",
    "unj": "unjudged",
    "p_avgjg": "precision_avgjg",
    "rprec_mult_avgjg": "rprec_avgjg",
    "p_ia": "precision_ia",
    "ap_ia": "map_ia",
    "strecall": "strec",
    "st_recall": "strec",
    "compatibility": "compat",
}

# In trec_eval's names, what follows the last underscore is a cut-off, or a parameter.
_TREC_PARAMETER = {"rprec_mult": "x", "rprec_mult_avgjg": "x", "iprec_at_recall": "recall"}
_DOT_PARAMETER = {"rbp": "p"}

_FORM = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9_-]*?)"
    r"(?P<dot>\.\d+)?"
    r"(?:-l(?P<level>\d+))?"
    r"(?:\((?P<before>[^()]*)\))?"
    r"(?:@(?P<k>[^()@]*))?"
    r"(?:\((?P<after>[^()]*)\))?"
)
_LEVEL_LAST = re.compile(r"(.*@\d+)-l(\d+)")


@dataclass(frozen=True)
class Measure:
    """A metric with its cut-off and parameters, ready to be computed.

    Attributes:
      text: the name as it was written.
      metric: the line of the table.
      k: the cut-off, or None.
      params: the parameters that were given, and the defaults of the line.
    """

    text: str
    metric: Metric
    k: int | None
    params: dict[str, Any]

    def values(self, judged: Judged) -> np.ndarray:
        """Return one value per query.

        Args:
          judged: the join of judgments and a run.
        """
        return self.metric.fn(judged, self.k, **self.params)

    def mean(self, values: np.ndarray) -> float:
        """Return one value for all queries.

        Args:
          values: one value per query, at least one.
        """
        if self.metric.mean == "sum":
            return float(np.sum(values))
        if self.metric.mean == "geometric":
            return float(np.exp(np.mean(np.log(np.maximum(values, 1e-5)))))
        return float(np.mean(values))


def list_metrics() -> list[str]:
    """Return the names of all metrics.

    >>> "ndcg" in list_metrics()
    True
    """
    return sorted(METRICS)


def parse_metric(text: str) -> Measure:
    """Read the name of a metric.

    The forms are ``name``, ``name@k`` and ``name(parameter=value, ...)@k``, in any case; the names that trec_eval
    (``ndcg_cut_10``), ir_measures (``RBP(p=0.8)@10``) and ranx (``map-l2``) use are understood too.

    Args:
      text: the name.

    Returns:
      What it means.

    Raises:
      EvalError: there is no such metric or parameter, or the cut-off is no positive integer.

    >>> parse_metric("nDCG@10").k
    10
    """
    if not isinstance(text, str):
        raise TypeError(f"a metric is named by a str such as 'ndcg@10', got {type(text).__name__} {text!r}")
    # The level may stand behind the cut-off (ranx), and alpha may be the letter (ir_measures).
    plain = _LEVEL_LAST.sub(r"\1(rel=\2)", text.strip().lower()).replace("α", "alpha")
    match = _FORM.fullmatch(plain)
    if match is None:
        raise _unknown(text)
    name, cut = match["name"], match["k"]
    params: dict[str, Any] = {}
    if _known(name) is None and "_" in name:
        head, _, tail = name.rpartition("_")
        tail += match["dot"] or ""
        if head in _TREC_PARAMETER and _is_number(tail):
            name, params = head, {_TREC_PARAMETER[head]: float(tail)}
        elif _known(head) and tail.isdigit() and cut is None:
            name, cut = head, tail
    elif match["dot"]:
        if name not in _DOT_PARAMETER:
            raise _unknown(text)
        params[_DOT_PARAMETER[name]] = float(match["dot"])
    known = _known(name)
    if known is None:
        raise _unknown(text)
    metric = METRICS[known]
    if match["level"]:
        params["rel"] = float(match["level"])
    for part in (match["before"], match["after"]):
        params |= _parameters(part or "", text)
    for param in params:
        if param not in metric.params:
            raise EvalError(
                f"metric {text!r} has no parameter {param!r}",
                reason="invalid_parameter",
                hint=f"{known} takes: {', '.join(metric.params) or 'none'}",
            )
    _check_numbers(params, text)
    return Measure(text, metric, _cutoff(cut, metric, known, text), {**metric.defaults, **params})


def _known(name: str) -> str | None:
    name = ALIASES.get(name, name)
    if name not in METRICS and "-" in name:
        return _known(name.replace("-", "_"))
    return name if name in METRICS else None


def _cutoff(cut: str | None, metric: Metric, name: str, text: str) -> int | None:
    if cut is None:
        if metric.cutoff == "required":
            raise EvalError(f"metric {text!r} needs a cut-off", reason="invalid_parameter", hint=f"write {name}@10")
        return None
    if metric.cutoff == "no":
        raise EvalError(f"metric {text!r} takes no cut-off", reason="invalid_parameter", hint=f"write {name}")
    if not cut.isascii() or not cut.isdigit() or int(cut) < 1:
        raise EvalError(
            f"metric {text!r}: the cut-off is {cut!r}, expected an integer of at least 1", reason="invalid_parameter"
        )
    return int(cut)


def _parameters(text: str, whole: str) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip().strip("'\"") for p in part.partition("="))
        if not equals or not value:
            raise EvalError(
                f"metric {whole!r}: {part!r} is no parameter", reason="invalid_parameter", hint="write name=value"
            )
        params[name] = float(value) if _is_number(value) else value
    return params


def _check_numbers(params: dict[str, Any], text: str) -> None:
    for name, value in params.items():
        if name in ("gain", "scale"):
            continue
        if isinstance(value, str) or not np.isfinite(value):
            raise EvalError(f"metric {text!r}: {name} is {value!r}, expected a number", reason="invalid_parameter")
        if name in ("rel", "beta", "x", "max_grade") and value <= 0:
            raise EvalError(f"metric {text!r}: {name} is {value:g}, expected more than 0", reason="invalid_parameter")
        if name == "recall" and not 0 <= value <= 1:
            raise EvalError(f"metric {text!r}: {name} is {value:g}, expected 0 to 1", reason="invalid_parameter")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unknown(text: str) -> EvalError:
    name = text.lower().split("@")[0]
    guess = did_you_mean(name, [*METRICS, *ALIASES])
    return EvalError(
        f"unknown metric {text!r}",
        reason="unknown_metric",
        hint=f"{guess}known metrics: {', '.join(list_metrics())}; write a cut-off as ndcg@10",
    )
