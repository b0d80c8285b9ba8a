#!/bin/sh
# Copies the table from a ZooKeeper member that runs: first its snapshots, then its transaction logs.
#
# Usage: backup.sh DATADIR TARGET [DATALOGDIR]
#
# DATADIR and DATALOGDIR are those of the member's zoo.cfg; TARGET is made and must not exist. Take a member that
# is in the quorum (`srvr` says leader or follower).
#
# The order is what makes it whole. A snapshot is fuzzy: it is written while transactions go on, and holds some of
# them. The logs make it exact, if they reach at least to the end of the snapshot: so they are copied after it. The
# newest log is cut wherever the copy met it, at a whole transaction (each has a checksum; ZooKeeper stops at the
# first that is not whole). The files currentEpoch and acceptedEpoch are left out: copied at another moment than the
# logs they can contradict them, and ZooKeeper derives them from the logs.
set -eu

fail() {
    echo "backup: $*" >&2
    exit 1
}

[ $# -ge 2 ] && [ $# -le 3 ] || fail "usage: backup.sh DATADIR TARGET [DATALOGDIR]"
snapshots=$1/version-2
target=$2
logs=${3:-$1}/version-2
[ -d "$snapshots" ] || fail "$snapshots is no directory: DATADIR is the dataDir of a ZooKeeper member"
[ -d "$logs" ] || fail "$logs is no directory: DATALOGDIR is the dataLogDir of a ZooKeeper member"
[ ! -e "$target" ] || fail "$target exists"
part=$target.part
rm -rf -- "$part"
mkdir -p -- "$part"
chmod 700 -- "$part" # commands and their output are private

# copy KIND DIRECTORY: copies its files of a kind; fails if one goes away meanwhile.
copy() {
    find "$2" -maxdepth 1 -type f -name "$1.*" >"$part/list"
    while IFS= read -r file; do
        cp --preserve=timestamps --sparse=always -- "$file" "$part/" ||
            fail "$file went away while it was copied (autopurge): run this again"
    done <"$part/list"
    rm -- "$part/list"
}

copy snapshot "$snapshots"
whole=0
for file in "$part"/snapshot.*; do
    [ -e "$file" ] || continue
    if [ "$(tail -c 1 -- "$file")" = / ]; then # ZooKeeper seals a snapshot with a slash
        whole=$((whole + 1))
    else
        rm -- "$file" # it was being written
    fi
done
[ "$whole" -gt 0 ] || fail "$snapshots holds no whole snapshot: run this again in a minute"
copy log "$logs"
[ -n "$(find "$part" -name 'log.*')" ] || fail "$logs holds no transaction log"
sync -- "$part"/* "$part"
mv -- "$part" "$target"
echo "backup: $whole snapshots and $(find "$target" -name 'log.*' | wc -l) logs, $(du -sh -- "$target" | cut -f 1), in $target"
