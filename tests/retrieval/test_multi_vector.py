"""Search over documents of many vectors against NumPy, and the index on disk at every moment of a save."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading

import jax
import numpy as np
import pytest

from jrank import maxsim
from jrank.errors import DataError, RetrieveError
from jrank.retrieval import BM25Index, MultiVectorIndex, load_index
from jrank.retrieval import _multi_vector_shards as shards_module
from jrank.retrieval._multi_vector_codecs import CODECS, encode_all
from tests.retrieval.oracles import ranking

D = 8
RNG = np.random.default_rng(0)
# A document longer than a group, and one longer than a shard.
LENGTHS = [*RNG.integers(0, 40, 60).tolist(), 150, 0, 300, 1, 3]
DOCS = [RNG.integers(-3, 4, size=(length, D)).astype("f") for length in LENGTHS]
IDS = [f"d{place}" for place in range(len(DOCS))]
QUERIES = [RNG.integers(-3, 4, size=(length, D)).astype("f") for length in (5, 0, 8, 1)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards_module, "GROUP_TOKENS", 64)
    monkeypatch.setattr(shards_module, "GROUPS", 4)


def reference(queries, docs):
    """Scores in float64; -inf for what has no token."""
    scores = np.full((len(queries), len(docs)), -np.inf)
    for row, query in enumerate(queries):
        for column, doc in enumerate(docs):
            if len(query) and len(doc):
                scores[row, column] = (query.astype(float) @ doc.astype(float).T).max(axis=1).sum()
    return scores


def check(hits, scores, ids, k, allowed=None):
    allowed = np.ones(len(ids), bool) if allowed is None else allowed
    for row, values in enumerate(scores):
        columns, best = ranking(values, k, allowed & (values > -np.inf))
        assert hits.ids[row].tolist() == [None if column < 0 else ids[column] for column in columns]
        assert np.array_equal(hits.scores[row], np.asarray(best, np.float32))


SCORES = reference(QUERIES, DOCS)


@pytest.fixture(scope="module")
def whole():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "GROUP_TOKENS", 64)
        patch.setattr(shards_module, "GROUPS", 4)
        index = MultiVectorIndex.build(DOCS, IDS, metric="dot")
        index.search(QUERIES, 1)
    return index


@pytest.mark.parametrize("k", [1, 7, 200])
def test_exact_with_ties(whole, k):
    assert len(whole._shards) > 3
    check(whole.search(QUERIES, k), SCORES, IDS, k)


@pytest.mark.parametrize("sizes", [[1] * 65, [30, 1, 34], [64, 1]])
def test_parts_equal_the_whole(sizes):
    index, start = MultiVectorIndex(metric="dot"), 0
    for place, size in enumerate(sizes):
        index.add(DOCS[start : start + size], IDS[start : start + size])
        start += size
        if place % 13 == 0:
            index._ready()  # shards are laid out in between
    check(index.search(QUERIES, 9), SCORES, IDS, 9)
    whole = MultiVectorIndex.build(DOCS, IDS, metric="dot")
    whole._ready()
    assert [shard.count for shard in index._shards] == [shard.count for shard in whole._shards]


def test_any_order_of_adding_and_deleting():
    rng = np.random.default_rng(3)
    index, held = MultiVectorIndex(metric="dot"), []
    for step in range(12):
        new = [int(i) for i in rng.permutation(len(DOCS))[:9] if int(i) not in held]
        index.add([DOCS[i] for i in new], [IDS[i] for i in new])
        held += new
        gone = [int(i) for i in rng.permutation(held)[: rng.integers(0, 7)]]
        index.delete([IDS[i] for i in gone])
        held = [i for i in held if i not in gone]
        if step % 3 == 2:
            names = [IDS[i] for i in held]
            assert index.ids == names
            check(index.search(QUERIES, 9), SCORES[:, held], names, 9)
    index.delete(index.ids)
    assert len(index) == 0
    assert index.search(QUERIES, 2).ids.tolist() == [[None, None]] * 4
    assert index._shards == []


def test_filters(whole):
    allowed = np.arange(len(IDS)) % 3 == 0
    for chosen in (set(np.array(IDS)[allowed].tolist()), lambda name: int(name[1:]) % 3 == 0):
        check(whole.search(QUERIES, 9, filter=chosen), SCORES, IDS, 9, allowed)
    assert whole.search(QUERIES, 1, filter=["other"]).ids.tolist() == [[None]] * 4


def test_a_narrow_filter_scores_what_passes_alone(whole, monkeypatch):
    def unwanted(*args, **options):
        raise AssertionError("all documents were scored")

    monkeypatch.setattr("jrank.retrieval._multi_vector.scan", unwanted)
    for place in range(0, len(IDS), 7):
        allowed = np.isin(np.arange(len(IDS)), [place, (5 * place) % len(IDS), 63])
        check(whole.search(QUERIES, 9, filter=set(np.array(IDS)[allowed].tolist())), SCORES, IDS, 9, allowed)
    assert whole.search(QUERIES, 1, filter=[]).ids.tolist() == [[None]] * 4


def test_candidates(whole):
    some = [["d3", "d60", "gone", None], ["d1"], [], IDS]
    hits = whole.search(QUERIES, 9, candidates=some, filter=lambda name: name != "d3")
    for row, names in enumerate(some):
        allowed = np.isin(IDS, [name for name in names if name not in (None, "d3")])
        check_row = type(hits)(hits.ids[row : row + 1], hits.scores[row : row + 1])
        check(check_row, SCORES[row : row + 1], IDS, 9, allowed)
    words = BM25Index.build([f"word{place % 5}" for place in range(len(DOCS))], IDS)
    found = whole.search(QUERIES[:1], 3, candidates=words.search(["word2"], 50))
    check(found, SCORES[:1], IDS, 3, np.arange(len(IDS)) % 5 == 2)
    with pytest.raises(RetrieveError, match="candidates for 1 queries, expected 4"):
        whole.search(QUERIES, candidates=[["d1"]])
    with pytest.raises(RetrieveError, match="fde=True"):
        whole.search(QUERIES, candidates=5)


def test_fixed_dimensional_encodings(tmp_path):
    # Every token is one of a few directions, so each bucket of the encoding holds equal tokens.
    axes = np.eye(D, dtype="f")
    docs = [axes[RNG.integers(0, D, size=3)] for _ in range(40)]
    index = MultiVectorIndex.build(docs[:20], fde={"bits": 4, "repetitions": 8, "projection": None})
    index.add(docs[20:])
    index.delete([4, 5])
    query = [docs[7]]
    want = index.search(query, 3)
    found = index.search(query, 3, candidates=25)
    assert found.scores[0, 0] == want.scores[0, 0] == 3
    exact = index.search(query, 3, candidates=38)
    assert np.array_equal(exact.ids, want.ids)
    index.save(tmp_path / "index")
    loaded = MultiVectorIndex.load(tmp_path / "index")
    again = loaded.search(query, 3, candidates=25)
    assert np.array_equal(again.ids, found.ids)
    assert np.array_equal(again.scores, found.scores)
    loaded.add(docs[:1], [99])
    assert 99 in loaded.search(query, 40, candidates=39).ids
    with pytest.raises(RetrieveError, match="no option 'planes'"):
        MultiVectorIndex(fde={"planes": 3})
    with pytest.raises(RetrieveError, match="bits"):
        MultiVectorIndex.build(docs, fde={"bits": -1})


def test_encodings_are_made_in_parts(monkeypatch):
    whole = MultiVectorIndex.build(DOCS, IDS, fde=True)
    monkeypatch.setattr("jrank.retrieval._multi_vector.ENCODED", 9)
    parts = MultiVectorIndex.build(DOCS, IDS, fde=True)
    query = np.ones((1, whole._coarse.dimension), "f")
    np.testing.assert_allclose(whole._coarse.scores(query), parts._coarse.scores(query), rtol=1e-4, atol=1e-4)


def test_refused_documents_do_not_fix_the_dimension_of_encodings():
    index = MultiVectorIndex(fde={"bits": 1, "repetitions": 2})
    with pytest.raises(RetrieveError, match="comes twice"):
        index.add([np.ones((2, 3))] * 2, ["a", "a"])
    index.add([np.eye(5)], ["a"])
    assert index.search([np.eye(5)], 1, candidates=1).ids.tolist() == [["a"]]


def test_cosine_weights_and_one_query():
    index = MultiVectorIndex.build(DOCS, IDS)
    unit = [doc / np.maximum(np.linalg.norm(doc, axis=1, keepdims=True), 1e-9) for doc in DOCS]
    query = QUERIES[0]
    sims = [(query / np.linalg.norm(query, axis=1, keepdims=True)) @ doc.T for doc in unit]
    weights = np.array([0.0, 1.0, 2.0, 0.5, 1.0], "f")
    want = [weights @ sim.max(axis=1) if sim.size else -np.inf for sim in sims]
    hits = index.search(query, 5, weights=[weights])
    np.testing.assert_allclose(hits.scores[0], np.sort(want)[::-1][:5], rtol=1e-5)
    with pytest.raises(RetrieveError, match="weights"):
        index.search(query, weights=[weights[:2]])
    for large in (1e39, 3e38, 1e17):
        with pytest.raises(RetrieveError, match="weights"):
            index.search(query, weights=[large * weights.astype(float)])
    assert np.array_equal(index.search(query, 5, weights=[1e15 * weights]).ids, hits.ids)
    # Together they would be more than float32 holds.
    dot = MultiVectorIndex.build(DOCS[:3], metric="dot")
    with pytest.raises(RetrieveError, match="hold 1e\\+12, so scores would overflow"):
        dot.search([np.full((1, D), 1e8)], weights=[np.full(1, 1e12)])
    with pytest.raises(RetrieveError, match="query 1 has no token"):
        index.search(QUERIES, on_empty="raise")


@pytest.mark.parametrize("dtype", [dtype for dtype in CODECS if dtype != "float16"])
def test_stored_types_and_files(tmp_path, dtype):
    index = MultiVectorIndex.build(DOCS[:30], IDS[:30], metric="dot", dtype=dtype)
    index.add(DOCS[30:], IDS[30:])
    index.delete(["d2"])
    hits = index.search(QUERIES, 9)
    # The same as packing and quantising everything at once, and as the decoded documents.
    packed = maxsim.pack(DOCS, group_tokens=64, dtype=dtype if "float" in dtype else None)
    docs = packed
    if "float" not in dtype:
        docs = maxsim.quantize(packed, int(dtype.strip("intb")), scale="token", code=index._code)
    whole = np.asarray(maxsim.score_packed(QUERIES[0], docs))
    for name, score in zip(hits.ids[0], hits.scores[0], strict=True):
        assert score == pytest.approx(whole[int(name[1:])], rel=1e-5)
    for vectors, coded, doc in zip(
        index.vectors(IDS[3:]), encode_all(DOCS[3:], dtype, index._code), DOCS[3:], strict=True
    ):
        assert np.array_equal(vectors, CODECS[dtype].decode(coded, D, index._code))
        assert "float" not in dtype or np.array_equal(vectors, doc)
    if dtype == "2bit":
        coded = encode_all(DOCS[62:63], dtype, index._code)[0]
        on_device = index._code.decode(coded.tokens, coded.beside)
        assert np.array_equal(CODECS[dtype].decode(coded, D, index._code), on_device)
    # As candidates the documents are gathered from the shards, and score the same.
    some = index.search(QUERIES, 9, candidates=[IDS] * len(QUERIES))
    assert np.array_equal(some.ids, hits.ids)
    np.testing.assert_allclose(some.scores, hits.scores, rtol=1e-6)
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    assert isinstance(loaded._shards[0].layout.tokens, np.memmap)
    for other in (loaded, MultiVectorIndex.load(tmp_path / "index", mmap=False), index):
        again = other.search(QUERIES, 9)
        assert np.array_equal(again.ids, hits.ids)
        assert np.array_equal(again.scores, hits.scores)
    assert loaded.nbytes == index.nbytes


def test_what_two_bits_mean_is_learnt_once(tmp_path):
    """Documents without a token teach nothing; later documents change nothing for earlier ones."""
    index, place = MultiVectorIndex(metric="dot", dtype="2bit"), tmp_path / "index"
    index.add([np.zeros((0, D))], ["empty"])
    assert index.search(QUERIES[:1], 1).ids.tolist() == [[None]]
    index.save(place)
    index = MultiVectorIndex.load(place)
    for start in range(0, 40, 20):  # in parts, as long as nothing is searched
        index.add(DOCS[start : start + 20], IDS[start : start + 20])
    index.save(place)
    whole = MultiVectorIndex.build(DOCS[:40], IDS[:40], metric="dot", dtype="2bit")
    before = index.vectors(IDS[:40])
    for one, two in zip(before, whole.vectors(IDS[:40]), strict=True):
        assert np.array_equal(one, two)
    loaded = MultiVectorIndex.load(place)
    for other in (index, loaded):
        other.add([5 * doc for doc in DOCS[40:]], IDS[40:])
        other.delete(["empty"])
    assert all(np.array_equal(one, two) for one, two in zip(before, index.vectors(IDS[:40]), strict=True))
    want = index.search(QUERIES, 9)
    index.save(place)
    for other in (loaded, MultiVectorIndex.load(place)):
        found = other.search(QUERIES, 9)
        assert np.array_equal(found.ids, want.ids)
        assert np.array_equal(found.scores, want.scores)
    assert len(list(place.glob("code-*"))) == 1
    np.save(next(place.glob("code-*")) / "levels.npy", np.zeros((4, D + 1), "f"))
    with pytest.raises(RetrieveError, match=r"manifest says"):
        MultiVectorIndex.load(place)


def test_coding_compiles_for_few_numbers_of_tokens(caplog):
    """Documents of 60 lengths: as many programs as powers of two, not one for each."""
    index = MultiVectorIndex.build(DOCS[:20], IDS[:20], metric="dot", dtype="2bit")
    index.search(QUERIES[:1], 1)
    code, rows = index._code, RNG.normal(size=(64, D)).astype("f")
    for size in (1, 2, 4, 8, 16, 32, 64):
        encode_all([rows[:size]], "2bit", code)
    with jax.log_compiles():
        found = [encode_all([rows[:size]], "2bit", code)[0] for size in range(1, 65)]
    assert not [message for message in caplog.messages if message.startswith("Compiling")]
    for size, coded in enumerate(found, 1):
        assert np.array_equal(coded.tokens, found[-1].tokens[:size])
        assert np.array_equal(coded.beside, found[-1].beside[:size])
    assert encode_all([rows[:0]], "2bit", code)[0].tokens.shape == (0, 2)


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_vectors_are_copied_once(metric):
    mine = np.eye(3, D, dtype="f")
    index = MultiVectorIndex.build([mine], ["a"], metric=metric)
    vectors = encode_all([mine], "float32", None)[0].tokens
    assert np.shares_memory(vectors, mine)  # the codec makes no other copy than that of the check
    mine[:] = 7
    assert np.array_equal(index.vectors(["a"])[0], np.eye(3, D))


def test_a_save_writes_what_is_new(tmp_path):
    place = tmp_path / "index"
    index = MultiVectorIndex.build(DOCS[:40], IDS[:40], metric="dot")
    index.save(place)
    before = {path.name for path in place.glob("shard-*")}
    index.add(DOCS[40:], IDS[40:])
    index.save(place)
    after = {path.name for path in place.glob("shard-*")}
    assert len(before - after) == 1  # the last one was not full
    loaded = MultiVectorIndex.load(place)
    loaded.delete(["d0"])
    loaded.save(place)
    assert {path.name for path in place.glob("shard-*")} == after
    loaded.save(tmp_path / "copy")
    for index in (loaded, MultiVectorIndex.load(place), MultiVectorIndex.load(tmp_path / "copy")):
        check(index.search(QUERIES, 9), SCORES, IDS, 9, np.arange(len(IDS)) > 0)


def test_encodings_that_did_not_change_are_not_written_again(tmp_path):
    place, other = tmp_path / "index", tmp_path / "other"
    index = MultiVectorIndex.build(DOCS[:20], IDS[:20], fde={"bits": 1, "repetitions": 1})

    def name(folder=place):
        (found,) = folder.glob("coarse-*")
        return found.name

    index.save(place)
    first = name()
    index.save(place)
    loaded = MultiVectorIndex.load(place)
    loaded.save(place)
    assert name() == first
    loaded.save(other)  # elsewhere they are written, and then lie there
    MultiVectorIndex.load(other).save(other)
    loaded.delete(["d0"])
    loaded.save(place)
    second = name()
    assert second != first
    loaded.add(DOCS[20:22], IDS[20:22])
    loaded.save(place)
    assert name() != second
    for folder, ids in ((place, IDS[1:22]), (other, IDS[:20])):
        again = MultiVectorIndex.load(folder)
        assert again.ids == ids
        again.search(QUERIES[:1], 3, candidates=5)
        name(folder)


def test_an_index_is_whole_at_every_moment_of_a_save(tmp_path, monkeypatch):
    """What a kill would leave is copied before every change of the disk; each copy is the old index or the new one."""
    place, moments, copied = tmp_path / "index", [], []

    def copying(change):
        def changed(*args, **options):
            if place.exists() and not copied:  # copying changes the disk too
                moments.append(tmp_path / f"moment{len(moments)}")
                copied.append(True)
                shutil.copytree(place, moments[-1])
                copied.clear()
            return change(*args, **options)

        return changed

    index = MultiVectorIndex.build(DOCS[:40], IDS[:40], metric="dot", fde={"bits": 1, "repetitions": 1})
    index.save(place)
    index.add(DOCS[40:], IDS[40:])
    index.delete(["d1"])
    for module, name in ((os, "replace"), (os, "mkdir"), (np, "save"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, copying(getattr(module, name)))
    index.save(place)
    monkeypatch.undo()
    lengths = [len(MultiVectorIndex.load(moment)) for moment in moments]
    assert set(lengths) == {40, len(DOCS) - 1}
    assert lengths == sorted(lengths)
    # What the interrupted save left behind is gone after the next one.
    left = MultiVectorIndex.load(moments[len(moments) // 2])
    left.save(moments[len(moments) // 2])
    names = {path.name.split("-")[0] for path in moments[len(moments) // 2].iterdir()}
    assert names <= {"manifest.json", "shard", "table", "coarse"}
    for moment in moments:  # files that were being written too
        MultiVectorIndex.load(moment).save(moment)
        assert not [path for path in moment.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_killed_saves(tmp_path):
    """The same with real processes that are killed."""
    place = tmp_path / "index"
    MultiVectorIndex.build(DOCS[:40], IDS[:40], metric="dot").save(place)
    program = textwrap.dedent(
        """
        import os, signal, sys, threading
        import numpy as np
        from jrank.retrieval import MultiVectorIndex
        index = MultiVectorIndex.load(sys.argv[1])
        index.add([np.ones((5, 8))] * 3000, [f"n{i}" for i in range(3000)])
        index._ready()
        threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
        while True:
            index.save(sys.argv[1])
            index.delete([index.ids[-1]])
        """
    )
    for wait in ("0.003", "0.02", "0.1"):
        found = subprocess.run([sys.executable, "-c", program, place, wait], check=False, capture_output=True)
        assert found.returncode == -9, found.stderr.decode()
        index = MultiVectorIndex.load(place)
        names = set(index.search(QUERIES, 5, filter=IDS).ids.ravel().tolist()) - {None}
        assert names <= set(IDS[:40])
        index.delete([name for name in index.ids if name.startswith("n")])
        index.save(place)


def test_searching_while_documents_are_added():
    """Every result is that of the index at one moment between the call and its return."""
    index, faults = MultiVectorIndex.build(DOCS[:20], IDS[:20], metric="dot"), []
    index.search(QUERIES[:1], 5)

    def adding():
        try:
            for place in range(20, len(DOCS)):
                index.add([DOCS[place]], [IDS[place]])
                index.search(QUERIES[1:2], 1)
        except Exception as error:  # seen by the other thread
            faults.append(error)

    worker, rounds = threading.Thread(target=adding), 0
    worker.start()
    while worker.is_alive() or not rounds:
        low = len(index)
        found = index.search(QUERIES[:1], 5).ids[0].tolist()
        states = [ranking(SCORES[0, :n], 5, SCORES[0, :n] > -np.inf)[0] for n in range(low, len(index) + 1)]
        assert found in [[IDS[column] for column in state] for state in states]
        rounds += 1
    worker.join()
    assert not faults
    check(index.search(QUERIES, 9), SCORES, IDS, 9)


def test_spread_over_devices(mesh8):
    index = MultiVectorIndex.build(DOCS, IDS, metric="dot", mesh=mesh8)
    check(index.search(QUERIES, 9), SCORES, IDS, 9)
    check(index.search(QUERIES, 9, candidates=[IDS] * len(QUERIES)), SCORES, IDS, 9)
    for dtype in ("bfloat16", "int8", "2bit", "1bit"):
        coded = MultiVectorIndex.build(DOCS, IDS, metric="dot", dtype=dtype, mesh=mesh8)
        want = MultiVectorIndex.build(DOCS, IDS, metric="dot", dtype=dtype).search(QUERIES, 9)
        np.testing.assert_allclose(coded.search(QUERIES, 9).scores, want.scores, rtol=1e-6)


def test_two_bits_spread_over_devices(mesh8, tmp_path):
    # Few distinct tokens: each is a centroid, so that every product is a whole number and there are ties.
    rng = np.random.default_rng(4)
    few = rng.integers(-3, 4, (6, D)).astype(np.float32)
    docs = [few[rng.integers(0, 6, rng.integers(1, 5))] for _ in DOCS]
    index = MultiVectorIndex.build(docs[:40], IDS[:40], metric="dot", dtype="2bit", mesh=mesh8)
    index.search(QUERIES, 1)
    index.add(docs[40:], IDS[40:])
    index.save(tmp_path / "index")
    for some in (index, MultiVectorIndex.load(tmp_path / "index", mesh=mesh8)):
        check(some.search(QUERIES, 9), reference(QUERIES, docs), IDS, 9)
        check(some.search(QUERIES, 9, candidates=[IDS] * len(QUERIES)), reference(QUERIES, docs), IDS, 9)


def test_bad_input(tmp_path, whole):
    index = MultiVectorIndex.build(DOCS[:3], metric="dot")
    with pytest.raises(RetrieveError, match="vectors of 5 dimensions, the index holds vectors of 8"):
        index.add([np.ones((2, 5))])
    with pytest.raises(RetrieveError, match="vectors of 5 dimensions"):
        index.search([np.ones((2, 5))])
    with pytest.raises(RetrieveError, match=r"items\[1\]\[1\] holds a number that is not finite"):
        index.add([np.ones((2, D)), np.array([np.ones(D), np.full(D, np.nan)])])
    with pytest.raises(RetrieveError, match="comes twice"):
        index.add(DOCS[:1], [2])
    with pytest.raises(RetrieveError, match="no document 7"):
        index.delete([7])
    with pytest.raises(RetrieveError, match="no document 'x'"):
        index.vectors(["x"])
    assert len(index) == 3
    for call in (lambda: index.add("text"), lambda: index.add([[[1.0]]]), lambda: index.delete("0")):
        with pytest.raises(TypeError):
            call()
    for options in ({"fde": "yes"}, {"mesh": 3}):
        with pytest.raises(TypeError, match=next(iter(options))):
            MultiVectorIndex(**options)
    for some in ([3], ["0"], [[[1]]]):
        with pytest.raises(TypeError, match=r"candidates\[0\] must be a list of ids"):
            index.search(DOCS[:1], candidates=some)
    for options in ({"metric": "l2"}, {"dtype": "int4"}):
        with pytest.raises(RetrieveError, match="unknown"):
            MultiVectorIndex(**options)
    assert MultiVectorIndex().search([np.ones((2, 3))], 2).ids.tolist() == [[None, None]]
    with pytest.raises(RetrieveError, match="no documents"):
        MultiVectorIndex().search([np.ones((2, 3))], on_empty="raise")
    assert repr(whole) == "MultiVectorIndex(65 documents, vectors of 8 dimensions, 'dot', 'float32')"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    BM25Index.build(["fox"]).save(tmp_path / "words")
    for place, message in (("mine", "letter.txt"), ("words", "another index")):
        with pytest.raises(DataError, match=message):
            index.save(tmp_path / place)
    assert BM25Index.load(tmp_path / "words").search(["fox"], 1).ids.tolist() == [[0]]


def damage_manifest(place, change):
    manifest = json.loads((place / "manifest.json").read_text())
    change(manifest["parameters"])
    (place / "manifest.json").write_text(json.dumps(manifest))


def damage_shard(place, change):
    file = next(place.glob("shard-*/manifest.json"))
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def declare(place, shape):
    """A header and a manifest that agree on a shape that the file does not have."""
    file = next(place.glob("shard-*/tokens.npy"))
    data = file.read_bytes()
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|i1", "fortran_order": False, "shape": shape})
        out.write(data[-64:])
    damage_shard(place, lambda m: m["arrays"]["tokens"].update(shape=list(shape)))


def test_damaged_files(tmp_path):
    index, place = MultiVectorIndex.build(DOCS[:9], IDS[:9], metric="dot", dtype="int8"), tmp_path / "index"
    faults = [
        lambda: damage_manifest(place, lambda p: p["shards"][0].update(name="../../x")),
        lambda: damage_manifest(place, lambda p: p["shards"][0].update(documents=3)),
        lambda: damage_manifest(place, lambda p: p.update(dimension=9)),
        lambda: damage_manifest(place, lambda p: p.update(dtype="float32")),
        lambda: damage_manifest(place, lambda p: p.pop("metric")),
        lambda: damage_manifest(place, lambda p: p.update(dtype="2bit")),
        lambda: damage_manifest(place, lambda p: p.update(dtype=["int8"])),
        lambda: damage_manifest(place, lambda p: p.update(code="../../etc")),
        lambda: damage_manifest(place, lambda p: p.update(code="code-0123456789abcdef")),
        lambda: damage_manifest(place, lambda p: p.update(fde={})),
        lambda: damage_shard(place, lambda m: m["static"].update(max_docs=1 << 40)),
        lambda: damage_shard(place, lambda m: m["static"].update(max_docs="4")),
        lambda: damage_shard(place, lambda m: m["static"].update(span=10**9)),
        lambda: damage_shard(place, lambda m: m["static"].update(bits=7)),
        lambda: damage_shard(place, lambda m: m["arrays"].update({"../../x": m["arrays"].pop("tokens")})),
        lambda: declare(place, (1 << 40, 64, 8)),
        lambda: np.save(next(place.glob("shard-*/segments.npy")), np.full((4, 16), -5, np.int32)),
        lambda: os.truncate(next(place.glob("shard-*/tokens.npy")), 200),
        lambda: os.truncate(next(place.glob("shard-*/tokens.npy")), 90),
        lambda: shutil.rmtree(next(place.glob("shard-*"))),
        lambda: shutil.rmtree(next(place.glob("table-*"))),
        lambda: next(place.glob("shard-*/starts.npy")).unlink(),
        lambda: np.save(next(place.glob("shard-*/slots.npy")), np.full(64, 10**6, np.int32)),
    ]
    for fault in faults:
        shutil.rmtree(place, ignore_errors=True)
        index._shards = [shards_module.Shard(shard.docs, shard.count) for shard in index._shards]
        index.save(place)
        fault()
        for mmap in (True, False):
            with pytest.raises(RetrieveError) as caught:
                MultiVectorIndex.load(place, mmap=mmap)
            assert caught.value.reason == "invalid_index_file"
    with pytest.raises(RetrieveError, match="there is no index"):
        MultiVectorIndex.load(tmp_path / "nothing")
