#!/bin/sh
# Makes .venv with obuild installed in it, from this folder, changes taking effect at once.
#
#   tests/setup/venv.sh [EXTRA]     EXTRA: dev, with all that tests and checks need
#
# Nothing is done where that is there already.
set -eu
cd "$(dirname "$0")/../.."
extra=${1:-}

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

good() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# What the environment was made of: the place, and everything that pip reads.
made_of=$(pwd; cksum pyproject.toml)
current() { [ -f "$1" ] && [ "$(cat "$1")" = "$made_of" ] && good .venv/bin/python; }
stamp=.venv/.made-of-${extra:-plain}
# One with more in it is as good.
if current "$stamp" || { [ -z "$extra" ] && current .venv/.made-of-dev; }; then
    exit 0
fi

python=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if good "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed; name it with PYTHON=..."

if ! good .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
            fail "$python has no venv module: install it (Debian: apt-get install python3-venv, as root)"
        say "installing python3-venv"
        log=$(mktemp)
        # Standard error too goes to the log: it is shown if this fails.
        install() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q python3-venv; }
        install >"$log" 2>&1 </dev/null ||
            { apt-get update -q >"$log" 2>&1 || true; install >>"$log" 2>&1 </dev/null; } ||
            { tail -12 "$log" >&2; fail "python3-venv cannot be installed"; }
        rm -f "$log"
    fi
    say "making .venv"
    rm -rf .venv
    "$python" -m venv .venv
fi

say "installing obuild${extra:+ with its $extra tools} into .venv"
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@" </dev/null; }
pip install -e ".${extra:+[$extra]}" || { sleep 3; pip install -e ".${extra:+[$extra]}"; }
echo "$made_of" >"$stamp"
