#!/bin/sh
# The store of profile `s3`: its keys are those that MLflow reads, and become its environment, and no argument.
set -eu
file="${SECRETS:-/run/secrets}/aws_credentials"
key() { sed -n "s/^ *$1 *= *//p" "$file" | head -n 1; }
ROOT_ACCESS_KEY=$(key aws_access_key_id)
ROOT_SECRET_KEY=$(key aws_secret_access_key)
if [ -z "$ROOT_ACCESS_KEY" ] || [ -z "$ROOT_SECRET_KEY" ]; then
    echo "$file: must have aws_access_key_id and aws_secret_access_key; deploy/secrets.sh makes both." >&2
    exit 1
fi
export ROOT_ACCESS_KEY ROOT_SECRET_KEY
exec versitygw "$@"
