#!/bin/bash
# As in the official image, where /conf/zoo.cfg is mounted and the user is not root.
set -e
[[ -f /conf/zoo.cfg ]] || { echo "the stand-in makes no configuration: mount /conf/zoo.cfg" >&2; exit 1; }
[[ -f /data/myid ]] || echo "${ZOO_MY_ID:-1}" >/data/myid
exec "$@"
