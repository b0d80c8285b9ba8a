#!/bin/bash
# As in the official image, where the user is not root: an empty folder becomes a database with one user, who needs the
# password from everywhere but the container itself.
set -e
: "${POSTGRES_PASSWORD:?the official image refuses to start without it}"
user=${POSTGRES_USER:-postgres}
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    initdb --username "$user" --pwfile <(echo "$POSTGRES_PASSWORD") --auth-local trust --auth-host scram-sha-256 --encoding UTF8
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    echo "unix_socket_directories = '/var/run/postgresql'" >>"$PGDATA/postgresql.conf"
    database=${POSTGRES_DB:-$user}
    [[ $database = postgres ]] || echo "CREATE DATABASE \"$database\"" | postgres --single -j postgres
fi
exec "$@"
