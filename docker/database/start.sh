#!/bin/sh
# Starts PostgreSQL; the first time it makes the cluster, its user and its database.
#
#   POSTGRES_USER, POSTGRES_DB    "shop" unless given
#   POSTGRES_PASSWORD             or POSTGRES_PASSWORD_FILE, needed the first time only
#   PGDATA                        below the volume, /var/lib/postgresql/data/15
#
# Arguments are handed to the server: -c max_connections=50
set -eu

user=${POSTGRES_USER:-shop}
database=${POSTGRES_DB:-$user}

case $user$database in
*[!a-z0-9_]*)
    echo "POSTGRES_USER and POSTGRES_DB have small letters, digits and _ only." >&2
    exit 64
    ;;
esac

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    fi
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "The database is new: set POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE to a file that holds it." >&2
        exit 64
    fi
    # Made aside and moved into place whole, so that one that was cut off is made again.
    fresh=$PGDATA.new
    rm -rf "$fresh"
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --pgdata="$fresh" --username="$user" --pwfile=/tmp/password --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=scram-sha-256 --auth-host=scram-sha-256 --data-checksums
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$fresh/pg_hba.conf"
    if [ "$database" != postgres ]; then
        echo "CREATE DATABASE $database OWNER $user" | postgres --single -D "$fresh" postgres >/dev/null
    fi
    mkdir -p "$PGDATA"
    rm -rf "$PGDATA"
    mv "$fresh" "$PGDATA"
fi
unset POSTGRES_PASSWORD

exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off -c timezone=UTC "$@"
