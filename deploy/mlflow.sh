#!/bin/sh
# MLflow reads no files of secrets: what is in them becomes its environment, and no argument.
set -eu
secret() { cat "${SECRETS:-/run/secrets}/$1"; }
PGPASSWORD=$(secret mlflow_database_password)
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret mlflow_admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret mlflow_flask_key)
export PGPASSWORD MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY
exec mlflow "$@"
