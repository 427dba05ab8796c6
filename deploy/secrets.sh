#!/bin/sh
# Makes the secrets of docker-compose.yml that are not there yet, each 256 random bits; nothing is shown or replaced.
#
#   sh deploy/secrets.sh secrets && export TUNER_SECRETS=./secrets
#
# The folder is its owner's alone. The files in it can be read by the services, which are users of their own.
set -eu
folder=${1:?must be given the folder to make, such as: sh deploy/secrets.sh secrets}
mkdir -p "$folder"
chmod 700 "$folder"
random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }
make() {
    [ -e "$folder/$1" ] || { printf '%s\n' "$2" >"$folder/.new" && chmod 644 "$folder/.new" && mv "$folder/.new" "$folder/$1"; }
}
for name in postgres_password tuner_database_password mlflow_database_password mlflow_admin_password mlflow_tuner_password mlflow_flask_key ray_token; do
    make "$name" "$(random)"
done
make tuner_database_url "postgresql://tuner:$(cat "$folder/tuner_database_password")@postgres/tuner"
# Keys of the store of profile s3; for another one's bucket, its own take their place. Older versions left the file empty.
grep -qs '[^[:space:]]' "$folder/aws_credentials" || rm -f "$folder/aws_credentials"
make aws_credentials "[default]
aws_access_key_id = $(random | cut -c 1-20)
aws_secret_access_key = $(random)"
