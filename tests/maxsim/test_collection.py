"""Packed documents as a collection: parts, files, devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import maxsim
from jrank.errors import DataError, RerankError

LENGTHS = [7, 0, 70, 30, 1, 64, 150, 12, 0, 5]


def ragged(seed, lengths, dimensions=8):
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, size=(length, dimensions)).astype("f") for length in lengths]


DOCS = ragged(0, LENGTHS)
QUERY = ragged(1, [5])[0]
PACKED = maxsim.pack(DOCS, group_tokens=64)
WANT = maxsim.score_packed(QUERY, PACKED)


def test_documents_come_back():
    for place, doc in enumerate(DOCS):
        assert np.array_equal(PACKED[place], doc)
    assert np.array_equal(PACKED[-1], DOCS[-1])
    with pytest.raises(IndexError):
        PACKED[10]


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (2, 5), (5, 8), (1, 2), (3, 3), (6, None), (-3, None)])
def test_slices(start, stop):
    part = PACKED[start:stop]
    assert len(part) == len(DOCS[start:stop])
    assert np.array_equal(maxsim.score_packed(QUERY, part), WANT[start:stop])
    for place, doc in enumerate(DOCS[start:stop]):
        assert np.array_equal(part[place], doc)


def test_select():
    places = [6, 0, 0, 1]
    assert np.array_equal(maxsim.score_packed(QUERY, PACKED.select(places)), WANT[np.array(places)])


@pytest.mark.parametrize("sizes", [(64, 64, 64), (64, 4096, 16)])
def test_concat(sizes):
    cuts = [slice(0, 3), slice(3, 4), slice(4, None)]
    parts = [maxsim.pack(DOCS[cut], group_tokens=size) for cut, size in zip(cuts, sizes, strict=True)]
    both = maxsim.concat(parts)
    assert np.array_equal(maxsim.score_packed(QUERY, both), WANT)
    assert np.array_equal(both.lengths, LENGTHS)
    again = maxsim.concat([PACKED[:6], PACKED[6:]])
    assert np.array_equal(maxsim.score_packed(QUERY, again), WANT)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("mmap", [False, True])
def test_files(tmp_path, dtype, mmap):
    packed = maxsim.pack(DOCS, group_tokens=64, dtype=dtype)
    packed.save(tmp_path / "docs")
    loaded = maxsim.PackedDocs.load(tmp_path / "docs", mmap=mmap)
    assert isinstance(loaded.tokens, np.memmap) == mmap
    for one, two in zip(jax.tree.leaves(packed), jax.tree.leaves(loaded), strict=True):
        assert one.dtype == two.dtype
        assert np.array_equal(one, two)
    assert np.array_equal(maxsim.score_packed(QUERY, loaded), WANT)
    assert np.array_equal(maxsim.score_packed(QUERY, loaded[3:7]), WANT[3:7])
    packed[:3].save(tmp_path / "docs")  # replaces
    assert len(maxsim.PackedDocs.load(tmp_path / "docs")) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs"]


def test_broken_files(tmp_path):
    place = tmp_path / "docs"
    with pytest.raises(DataError, match="there is no file"):
        maxsim.PackedDocs.load(place)
    PACKED.save(place)
    (place / "slots.npy").unlink()
    with pytest.raises(DataError, match=r"there is no file .*slots.npy"):
        maxsim.PackedDocs.load(place)
    PACKED.save(place)
    (place / "slots.npy").write_bytes((place / "slots.npy").read_bytes()[:90])
    with pytest.raises(DataError, match=r"slots\.npy"):
        maxsim.PackedDocs.load(place)
    PACKED.save(place)
    np.save(place / "slots.npy", np.zeros(3))
    with pytest.raises(DataError, match="the manifest says"):
        maxsim.PackedDocs.load(place)
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**manifest, "arrays": {"../../secret": {}}}))
    with pytest.raises(DataError, match="does not describe"):
        maxsim.PackedDocs.load(place)
    (place / "manifest.json").write_text(json.dumps({**manifest, "arrays": {}}))
    with pytest.raises(DataError, match="lacks lengths"):
        maxsim.PackedDocs.load(place)
    (place / "manifest.json").write_text(json.dumps({**manifest, "kind": "cake"}))
    with pytest.raises(DataError, match="does not hold packed documents"):
        maxsim.PackedDocs.load(place)


@pytest.mark.parametrize("name", ["slots", "starts", "lengths", "segments"])
@pytest.mark.parametrize("bits", [None, 8])
def test_places_outside_of_the_arrays_are_refused(tmp_path, name, bits):
    docs = PACKED if bits is None else maxsim.quantize(PACKED, bits)
    docs.save(tmp_path / "docs")
    path = tmp_path / "docs" / f"{name}.npy"
    values = np.load(path)
    for wrong in (-2, 1 << 30):
        changed = values.copy()
        changed.flat[-1] = wrong
        np.save(path, changed)
        with pytest.raises(DataError, match=r"outside of its arrays|do not fit together"):
            type(docs).load(tmp_path / "docs")
    np.save(path, values)
    assert len(type(docs).load(tmp_path / "docs")) == len(docs)


@pytest.mark.parametrize(("name", "shape"), [("nearest", None), ("levels", (3, 8)), ("centroids", (0, 8))])
def test_codes_without_a_meaning_are_refused(tmp_path, name, shape):
    docs, place = maxsim.quantize(PACKED, 2), tmp_path / "docs"
    docs.save(place)
    values = np.load(place / f"{name}.npy")
    changed = values + np.uint16(9999) if shape is None else np.zeros(shape, values.dtype)
    np.save(place / f"{name}.npy", changed)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["arrays"][name]["shape"] = list(changed.shape)
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="do not fit together"):
        maxsim.QuantizedDocs.load(place)


def test_sharded_scores_are_equal(mesh8):
    spread = PACKED.shard(mesh8)
    assert spread.tokens.shape[0] % 8 == 0
    fn = jax.jit(lambda query, packed: maxsim.score_packed(query, packed, mesh=mesh8))
    assert np.array_equal(fn(QUERY, spread), WANT)
    text = fn.lower(QUERY, spread).compile().as_text()
    gathered = [line for line in text.splitlines() if "all-gather(" in line]
    assert all(f",{PACKED.tokens.shape[1]},8]" not in line for line in gathered)  # tokens stay where they are
    grad = jax.jit(jax.grad(lambda query: jnp.sum(fn(query, spread) ** 2)))(jnp.asarray(QUERY))
    want = jax.grad(lambda query: jnp.sum(maxsim.score_packed(query, PACKED) ** 2))(jnp.asarray(QUERY))
    assert np.array_equal(grad, want)


@pytest.mark.parametrize(("bits", "scale"), [(8, "document"), (8, "token"), (2, "document"), (1, "document")])
def test_sharded_codes_are_equal(mesh8, bits, scale):
    docs = maxsim.quantize(PACKED, bits, scale=scale)
    spread = docs.shard(mesh8)
    found = jax.jit(lambda query, docs: maxsim.score_packed(query, docs, mesh=mesh8))(QUERY, spread)
    np.testing.assert_allclose(found, maxsim.score_packed(QUERY, docs), rtol=2e-6, atol=1e-6)
    for name in ("centroids", "levels", "scale", "nearest"):
        want = getattr(docs, name)
        if want is not None:
            assert np.array_equal(np.asarray(getattr(spread, name))[: len(want)], want)


def test_two_bits_of_few_tokens_are_exact_on_devices(mesh8):
    # Each of the three tokens is a centroid, so that every product is a whole number; documents 0 and 3 tie.
    few = np.asarray(PACKED[0])[:3]
    places = [0, 1], [2], [0, 1, 2], [1, 0]
    docs = maxsim.quantize(maxsim.pack([few[list(some)] for some in places], group_tokens=4), 2)
    spread = docs.shard(mesh8)
    want = np.array([(QUERY @ few[list(some)].T).max(axis=1).sum() for some in places])
    assert np.array_equal(maxsim.score_packed(QUERY, spread, mesh=mesh8), want)
    grad = jax.grad(lambda query: maxsim.score_packed(query, spread, mesh=mesh8).sum())(QUERY)
    best = [few[list(some)][(QUERY @ few[list(some)].T).argmax(axis=1)] for some in places]
    assert np.array_equal(grad, np.sum(best, axis=0))


def test_documents_are_taken_without_compiling(caplog):
    """On the device each length would be a program of its own: seconds for a thousand documents."""
    docs = [np.ones((length, 8), "f") for length in range(1, 20)]
    packed, encoder = maxsim.pack(docs, group_tokens=64), maxsim.fde(8, bits=1, repetitions=2)
    encoder.packed(packed)
    caplog.clear()
    with jax.log_compiles():
        packed.select(np.arange(0, 19, 2))
        maxsim.concat([packed, maxsim.pack(docs[:2], group_tokens=8)])
        encoder.packed(packed)
    # Other than the copy of a whole array to the device, which is a program in some releases of jax.
    compiled = [message.split()[1] for message in caplog.messages if message.startswith("Compiling")]
    assert set(compiled) <= {"jit(stage)"}


def test_bytes():
    assert PACKED.nbytes >= PACKED.tokens.nbytes
    assert maxsim.pack(DOCS, dtype="bfloat16").tokens.nbytes * 2 == maxsim.pack(DOCS).tokens.nbytes


def test_bad_input(unchecked):
    with pytest.raises(RerankError, match="no parts"):
        maxsim.concat([])
    with pytest.raises(RerankError, match=r"\[3, 8\] dimensions"):
        maxsim.concat([PACKED, maxsim.pack([np.ones((2, 3))])])
    with pytest.raises(RerankError, match="step 1"):
        PACKED[::2]
    explicit = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,), devices=jax.devices()[:1])
    with pytest.raises(ValueError, match="explicit"):
        PACKED.shard(explicit)
