#!/bin/sh
# Installs the database servers that `make stores` tests against, where root or a sudo that asks nothing may.
# Otherwise it says what is missing: the tests then skip those, and fail with CI=true. No server is started.
set -eu

missing=
[ -n "$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null)" ] || missing="$missing postgresql"
[ -x /usr/sbin/mariadbd ] || missing="$missing mariadb-server"
[ -x /usr/bin/redis-server ] || missing="$missing redis-server"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "stores: not installed:$missing" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "stores: not installed; run: sudo apt-get install$missing" >&2
    exit 0
fi
echo "stores: installing$missing" >&2
$as_root apt-get -o DPkg::Lock::Timeout=120 update -qq >/dev/null
# RUNLEVEL=1: the packages' own servers are not started; the tests start theirs.
# shellcheck disable=SC2086
$as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq \
    --no-install-recommends $missing >/dev/null </dev/null
