"""The strict universe that every test runs in, and the fixtures that several rooms share."""

import ctypes
import gc
import importlib.metadata
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Before jax is imported: no accelerator is taken by accident, and nothing looks for a display or a hub.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Most of a test's time is compiling. The jaxlib of the oldest Python therefore compiles quickly rather than well, in a
# quarter of the time. Newer ones do not know these flags: there programs are compiled as users compile them, and so
# they are on both Pythons by scripts/check --full, which sets XLA_FLAGS to nothing.
COMPILE_QUICKLY = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_llvm_disable_expensive_passes=true",
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", " ".join(COMPILE_QUICKLY))

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# Values are drawn at fixed shapes, so that nothing recompiles; the first call compiles, so there is no deadline.
hypothesis.settings.register_profile(
    "fast", deadline=None, max_examples=20, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("fast"), max_examples=5)
hypothesis.settings.register_profile("full", deadline=None, max_examples=300)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def _without_collecting(parse):
    def source_to_code(*args, **kwargs):
        was_on = gc.isenabled()
        gc.disable()
        try:
            return parse(*args, **kwargs)
        finally:
            if was_on:
                gc.enable()

    return source_to_code


# Before 3.11.8, CPython keeps one count of depth for all syntax trees that are being built. When garbage is collected
# meanwhile and a finalizer's error is formatted, which parses source too, the outer parse ends in "SystemError: AST
# constructor recursion depth mismatch". The import hook builds a tree of each module of jrank.
if sys.version_info < (3, 11, 8):
    hook = jaxtyping._import_hook._JaxtypingLoader
    hook.source_to_code = _without_collecting(hook.source_to_code)

# The programs that made the golden files need peers that the tests do not.
collect_ignore_glob = ["golden/make_*.py"]

# Long, or many, and about arithmetic or files of our own: they get the marker ``once`` (see pyproject.toml).
ONCE = (
    "tests/cli/test_demo.py",
    "tests/cli/test_train_export.py",
    "tests/losses/test_contrastive.py",
    "tests/losses/test_correlation.py",
    "tests/losses/test_formulas.py",
    "tests/losses/test_lambda_weights.py",
    "tests/losses/test_pair_rows.py",
    "tests/losses/test_pairwise.py",
    "tests/losses/test_peers.py",
    "tests/losses/test_plackett_luce.py",
    "tests/losses/test_soft_permutations.py",
    "tests/losses/test_teachers.py",
    "tests/losses/test_unbiased.py",
    "tests/metrics/test_ranked_metrics.py",
    "tests/retrieval/test_multi_vector.py",
    "tests/soft/test_correlation.py",
    "tests/soft/test_few_at_a_time.py",
    "tests/soft/test_perturbed.py",
    "tests/soft/test_sampling.py",
    "tests/soft/test_smooth.py",
    "tests/soft/test_sort_with.py",
    "tests/soft/test_top_k.py",
    "tests/test_house.py",
    "tests/test_notebooks.py",
    "tests/test_references.py",
    "tests/transforms/test_approx.py",
    "tests/transforms/test_every_metric.py",
)
PURE_MATHS = ("soft", "metrics", "losses", "transforms", "maxsim")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        place = pathlib.Path(str(item.path))
        if place.is_relative_to(ROOT) and place.relative_to(ROOT).as_posix() in ONCE:
            item.add_marker(pytest.mark.once)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is not None and nextitem.path != item.path and _much_memory_is_held():
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def _much_memory_is_held():
    """Compiled programs stay in memory, several GB of them over all tests, and most serve one file.

    What files share is compiled again when they go, so not before a sixth of the machine is taken; there are up to four
    processes.
    """
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # Only Linux has this file, and malloc_trim.
        return False
    return pages > max((2 << 30) // os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES") // 6)


@pytest.fixture(autouse=True)
def strict_promotion(request):
    """No silent change of dtype in the pure-maths rooms (optax cannot run under it)."""
    parts = pathlib.Path(str(request.node.path)).relative_to(ROOT).parts
    if len(parts) > 1 and parts[1] in PURE_MATHS:
        with jax.numpy_dtype_promotion("strict"):
            yield
    else:
        yield


@pytest.fixture
def x64():
    """64-bit floats and integers for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mesh8():
    """A mesh of 8 simulated CPU devices, axis "data"."""
    from jrank.sharding import make_mesh

    return make_mesh({"data": 8}, devices=jax.devices("cpu")[:8])


@pytest.fixture
def unchecked():
    """Runtime type checks off, to see what users see who hand in something wrong."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def data_dir():
    """The collections beside the project; tests with the marker ``data`` use it."""
    place = pathlib.Path(os.environ.get("JRANK_DATA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no data directory at {place}; JRANK_DATA names another place")
    return place


@pytest.fixture(scope="session")
def golden():
    """Read a file of expected values from tests/golden."""

    def read(name):
        return json.loads((ROOT / "tests" / "golden" / name).read_text())

    return read
