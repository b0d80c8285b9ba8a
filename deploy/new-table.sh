#!/bin/sh
# Gives a restored table a new id, so that nobody compares its epochs with those of the table that was lost.
#
# Usage: new-table.sh HOST:PORT [CHROOT]
#
# HOST:PORT is a ZooKeeper server of the restored ensemble, CHROOT is /alb unless given. No broker may run. Needs
# zkCli.sh (in PATH, Debian's, or $ZKCLI) and, as that does, Java.
#
# Why: epochs began again at an older number. Workers and clients that live refuse what an older epoch of the same
# table says; of another table they take it.
set -eu

fail() {
    echo "new-table: $*" >&2
    exit 1
}

[ $# -ge 1 ] && [ $# -le 2 ] || fail "usage: new-table.sh HOST:PORT [CHROOT]"
server=$1
chroot=${2:-/alb}
for zkcli in "${ZKCLI:-}" "$(command -v zkCli.sh || true)" /usr/share/zookeeper/bin/zkCli.sh; do
    [ -z "$zkcli" ] || [ ! -x "$zkcli" ] || break
done
[ -x "$zkcli" ] || fail "there is no zkCli.sh; set ZKCLI to its path"

# zk WORD...: runs one command of zkCli; its answer is among the lines that it prints.
zk() {
    "$zkcli" -server "$server" "$@" 2>&1 </dev/null
}

# Nodes of sessions that were alive in the backup go when these time out.
tries=20
until brokers=$(zk ls "$chroot/brokers" | grep '^\[.*\]$') && [ "$brokers" = "[]" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "these brokers are registered: ${brokers:-(no answer)}; stop them first"
    sleep 1
done
before=$(zk get "$chroot/meta" | grep '^{.*"table"') || fail "$chroot/meta cannot be read"
id=$(tr -d - </proc/sys/kernel/random/uuid)
after=$(printf '%s' "$before" | sed "s/\"table\":\"[^\"]*\"/\"table\":\"$id\"/")
zk set "$chroot/meta" "$after" >/dev/null
[ "$(zk get "$chroot/meta" | grep '^{.*"table"')" = "$after" ] || fail "$chroot/meta could not be written"
echo "new-table: $before became $after"
