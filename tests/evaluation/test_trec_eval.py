"""Every number in the expected outputs of trec_eval 10.0, to the four decimals printed there."""

import pytest

from jrank.evaluation import evaluate
from jrank.runs import Qrels, Run

pytestmark = pytest.mark.data

# Names that trec_eval writes with several parameters at once.
RENAMED = {"utility_2,-1,0,0": "utility(a=2)", "ndcg_1=3,2=9,4=4.5": "ndcg(gain=1:3 2:9 4:4.5)"}
# No numbers about rankings; 11pt_avg_.25,.5,.75 is the mean of three lines that are checked.
NOT_METRICS = {"runid", "relstring", "relstring_20", "num_q", "11pt_avg_.25,.5,.75"}
GRADED = ("ndcg", "rndcg", "rbp", "g\t", "unj", "num_ret")

CASES = {
    "out.test": ("qrels.test", "results.test", {"queries": "intersection"}),
    "out.test.a": ("qrels.test", "results.test", {"queries": "intersection"}),
    "out.test.aq": ("qrels.test", "results.test", {"queries": "intersection"}),
    "out.test.aql": ("qrels.rel_level", "results.test", {"queries": "intersection"}),
    "out.test.aqc": ("qrels.test", "results.trunc", {}),
    "out.test.aqcM": ("qrels.test", "results.trunc", {"depth": 100}),
    "out.test.meas_params": ("qrels.test", "results.test", {"queries": "intersection"}),
    "out.comment.test": ("qrels.comment.test", "results.comment.test", {"queries": "intersection"}),
}


@pytest.mark.parametrize("name", CASES)
def test_expected_output(data_dir, name):
    folder = data_dir / "trec_eval" / "test"
    qrels, run, options = CASES[name]
    lines = [line.split(None, 2) for line in (folder / name).read_text().splitlines()]
    lines = [line for line in lines if line[0] not in NOT_METRICS]
    names = {}
    for measure, _, _ in lines:
        ours = RENAMED.get(measure, measure)
        # The option -l2 of trec_eval leaves metrics with grades as they are.
        if name.endswith("aql") and not f"{measure.lower()}\t".startswith(GRADED):
            ours += "-l2"
        names[measure] = ours
    report = evaluate(Qrels.read(folder / qrels), Run.read(folder / run), list(names.values()), **options)
    wrong = []
    for measure, query, value in lines:
        ours = names[measure]
        got = report[ours] if query == "all" else report.per_query[ours][query]
        if abs(got - float(value)) > 0.5000001e-4:
            wrong.append((measure, query, value, got))
    assert not wrong
    assert len(lines) >= 28


def test_comments_do_not_matter_but_hashes_inside_ids_do(data_dir):
    folder = data_dir / "trec_eval" / "test"
    got = Qrels.read(folder / "qrels.test.with-comments").to_dict()
    want = Qrels.read(folder / "qrels.test").to_dict()
    want["301"]["CR#93E-1860"] = want["301"].pop("CR93E-1860")
    assert got == want
