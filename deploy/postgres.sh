#!/bin/sh
# Run once, by the image of Postgres when its volume is empty: a role and databases for the tuner, and others for MLflow.
# Neither can read what is the other's. Passwords are read by psql itself, so that no argument holds one.
set -eu
own() {
    psql --no-psqlrc -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres -v role="$1" <<'SQL'
\set password `cat "$SECRETS/${ROLE}_database_password"`
CREATE ROLE :"role" LOGIN PASSWORD :'password';
SQL
}
database() {
    psql --no-psqlrc -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d postgres -v role="$1" -v name="$2" <<'SQL'
CREATE DATABASE :"name" OWNER :"role";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}
export SECRETS="${SECRETS:-/run/secrets}" ROLE
for ROLE in tuner mlflow; do
    own "$ROLE"
done
database tuner tuner
database mlflow mlflow
database mlflow mlflow_auth
