#!/bin/sh
# Runs once, when PostgreSQL's container makes the database: a role for Grafana, which can read what
# the listener writes and nothing else.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --set password="$GRAFANA_DATABASE_PASSWORD" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE grafana LOGIN PASSWORD :'password';
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO grafana;
SQL
