#!/bin/sh
# Puts a backup of backup.sh into the empty dataDir of a ZooKeeper member that does not run.
#
# Usage: restore.sh BACKUP DATADIR [DATALOGDIR]
#
# Every member of the new ensemble gets the same backup before the first one starts: members with no data would elect
# one of themselves, and have the others drop what they hold. `myid` is not touched. When the ensemble is up, and
# before any broker starts: new-table.sh.
set -eu

fail() {
    echo "restore: $*" >&2
    exit 1
}

[ $# -ge 2 ] && [ $# -le 3 ] || fail "usage: restore.sh BACKUP DATADIR [DATALOGDIR]"
backup=$1
snapshots=$2/version-2
logs=${3:-$2}/version-2
[ -n "$(find "$backup" -maxdepth 1 -name 'snapshot.*')" ] || fail "$backup is no backup: it holds no snapshot"
[ -e "$2/myid" ] || echo "restore: $2/myid is absent: a member of an ensemble needs it" >&2
for place in "$snapshots" "$logs"; do
    [ ! -e "$place" ] || [ -z "$(find "$place" -type f)" ] ||
        fail "$place holds files: move it away first, for nothing must mix with the backup"
done
mkdir -p -- "$snapshots" "$logs"
cp --preserve=timestamps -- "$backup"/snapshot.* "$snapshots/"
cp --preserve=timestamps -- "$backup"/log.* "$logs/"
chown -R --reference="$2" -- "$snapshots" "$logs"
sync -- "$snapshots"/* "$logs"/*
echo "restore: $2 is ready"
