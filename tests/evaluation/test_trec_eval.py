"""Every number in the expected outputs of trec_eval 10.0, to the four decimals printed there."""

import pytest

from jrank.evaluation import evaluate, read_reference, standardize
from jrank.runs import GroupedQrels, Preferences, Qrels, Run

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


def printed(path):
    """The measure, query and value of each line."""
    return [line.split(None, 2) for line in path.read_text().splitlines()]


def differing(report, lines):
    """The lines whose value, as far as it is printed, is another one in the report."""
    values = [report[name] if query == "all" else report.per_query[name][query] for name, query, _ in lines]
    return [(*line, got) for line, got in zip(lines, values, strict=True) if abs(got - float(line[2])) > 0.5000001e-4]


@pytest.mark.parametrize("name", CASES)
def test_expected_output(data_dir, name):
    folder = data_dir / "trec_eval" / "test"
    qrels, run, options = CASES[name]
    lines = [line for line in printed(folder / name) if line[0] not in NOT_METRICS]
    names = {}
    for measure, _, _ in lines:
        ours = RENAMED.get(measure, measure)
        # The option -l2 of trec_eval leaves metrics with grades as they are.
        if name.endswith("aql") and not f"{measure.lower()}\t".startswith(GRADED):
            ours += "-l2"
        names[measure] = ours
    report = evaluate(Qrels.read(folder / qrels), Run.read(folder / run), list(names.values()), **options)
    assert not differing(report, [(names[measure], query, value) for measure, query, value in lines])
    assert len(lines) >= 28


GROUPED = {
    "out.test.prefs": (Preferences.read, "prefs.test", "prefs.results.test"),
    "out.test.qrels_prefs": (lambda path: Preferences.from_qrels(Qrels.read(path)), "qrels.test", "results.test"),
    "out.test.qrels_jg": (GroupedQrels.read, "qrels.123", "results.test"),
}


@pytest.mark.parametrize("name", GROUPED)
def test_preferences_and_judges(data_dir, name):
    folder = data_dir / "trec_eval" / "test"
    read, judgments, run = GROUPED[name]
    lines = [line for line in printed(folder / name) if line[0] not in NOT_METRICS]
    names = list(dict.fromkeys(line[0] for line in lines))
    report = evaluate(read(folder / judgments), Run.read(folder / run), names, queries="intersection")
    assert not differing(report, lines)
    assert len(lines) >= 56


def test_standardized_values(data_dir):
    folder = data_dir / "trec_eval" / "test"
    lines = printed(folder / "out.test.aqZ")
    # A geometric mean has no deviation of its own; trec_eval prints 0 for it.
    lines = [(m[1:], q, v) for m, q, v in lines if m[0] == "Z" and m not in ("Znum_q", "Zgm_map", "Zgm_bpref")]
    names = list(dict.fromkeys(line[0] for line in lines))
    report = evaluate(
        Qrels.read(folder / "qrels.test"), Run.read(folder / "results.test"), names, queries="intersection"
    )
    report = standardize(report, read_reference(folder / "zscores_file"))
    assert not differing(report, lines)
    assert len(lines) > 350


def test_comments_do_not_matter_but_hashes_inside_ids_do(data_dir):
    folder = data_dir / "trec_eval" / "test"
    got = Qrels.read(folder / "qrels.test.with-comments").to_dict()
    want = Qrels.read(folder / "qrels.test").to_dict()
    want["301"]["CR#93E-1860"] = want["301"].pop("CR93E-1860")
    assert got == want
