#!/bin/bash
# The stand-in's first start of a database, to the contract of the official image: POSTGRES_PASSWORD_FILE,
# POSTGRES_INITDB_ARGS and the *.sql files of /docker-entrypoint-initdb.d, executed while nothing listens on the network.
set -euo pipefail

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD_FILE:?names the file with the password of the role postgres}"
    mkdir -p -m 0700 "$PGDATA"
    read -ra arguments <<< "${POSTGRES_INITDB_ARGS:-}"
    initdb --pgdata="$PGDATA" --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" "${arguments[@]}"
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"
    export PGPASSWORD PGHOST=/var/run/postgresql PGPORT=5432 PGUSER=postgres
    pg_ctl --pgdata="$PGDATA" --wait start --options "$(printf '%q ' "${@:2}" -c listen_addresses= -p 5432)"
    for file in /docker-entrypoint-initdb.d/*.sql; do
        [ ! -f "$file" ] || psql --no-psqlrc --set ON_ERROR_STOP=1 --dbname postgres --file "$file"
    done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
    unset PGPASSWORD PGHOST PGPORT PGUSER
fi
exec "$@"
