#!/bin/sh
# Prepares a checkout: a virtual environment in .venv with alb and its tools, ZooKeeper and Java.
#
# Quiet where all goes well; the whole story is in .venv/prepare.log. What is there already stays as it is.
# Debian packages are installed only by root or through a sudo that asks nothing.
set -eu
cd "$(dirname "$0")/.."
log=.venv/prepare.log
mkdir -p .venv
: >"$log"

say() { echo "prepare: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# run COMMAND...: keeps its output in the log; shows the end of it and stops where it fails.
run() {
    "$@" >>"$log" 2>&1 && return
    tail -n 25 "$log" >&2
    fail "failed: $* (the whole output: $log)"
}

# debian PURPOSE PACKAGE...: installs Debian packages, or says what a person has to install.
debian() {
    purpose=$1
    shift
    command -v apt-get >/dev/null || fail "$purpose is missing; install what your system has for: $*"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        fail "$purpose is missing; run: sudo apt-get install $*"
    fi
    say "installing $* for $purpose"
    run $as_root apt-get update
    run $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Prints the first Python that is new enough and can make a virtual environment; the system's own rather than one that
# stands before it in $PATH: Debian builds it with profiles, and pyenv, unless told, does not: a fifth slower.
find_python() {
    for name in ${PYTHON:-/usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$name" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python) || {
        debian "Python >= 3.11 with venv" python3 python3-venv
        python=$(find_python) || fail "Python >= 3.11 with venv is missing; set PYTHON=/path/to/python3"
    }
    run "$python" -m venv .venv
fi
say "installing alb and its tools into .venv"
run .venv/bin/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'

has_zookeeper() {
    if [ -n "${ZOOKEEPER_HOME:-}" ]; then
        find "$ZOOKEEPER_HOME" -maxdepth 2 -name 'zookeeper*.jar' 2>/dev/null | grep -q .
    else
        [ -e /usr/share/java/zookeeper.jar ]
    fi
}

has_zookeeper || debian "ZooKeeper" zookeeper
command -v java >/dev/null || [ -x "${JAVA_HOME:-/nonexistent}/bin/java" ] || debian "Java" default-jre-headless
