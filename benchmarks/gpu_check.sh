#!/usr/bin/env bash
# The check of a GPU: benchmarks/gpu_check.sh [--only STEP] [--device cuda:0] [--small] [OUT]
#
# Where gpu-wheels/ is filled (`make gpu-wheels`, on a machine with a network), an environment of its own is made from it without an
# index; it sees the packages of $PYTHON (python3 unless said otherwise), torch among them, and the compiled step is built into this
# tree. Without that folder $PYTHON itself runs the check. SITE=FOLDER names another folder of packages to see, KEEP=FOLDER where the
# environment is made.
set -euo pipefail
cd "$(dirname "$0")/.."
export MLFLOW_DISABLE_TELEMETRY=true PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore
PYTHON=${PYTHON:-python3}

if compgen -G 'gpu-wheels/*.whl' >/dev/null && [ -z "${NO_WHEELS:-}" ]; then
  started=$SECONDS
  environment=${KEEP:-$(mktemp -d)/environment}
  "$PYTHON" -m venv --without-pip "$environment"
  purelib=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  site=${SITE:-$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')}
  echo "$site" >"$purelib/machine.pth" # after the environment's own packages
  into=("$PYTHON" -m pip --disable-pip-version-check --python "$environment/bin/python" install --quiet --no-index --no-deps --no-cache-dir)
  PYTHONPATH='' "${into[@]}" --no-compile gpu-wheels/*.whl
  PYTHONPATH='' "${into[@]}" --no-build-isolation --editable . || echo "tuner could not be installed" >&2
  PYTHON=$environment/bin/python
  echo "environment: made in $((SECONDS - started)) s, compiled steps: $(compgen -G "tuner/learning/compiled/*.so" | wc -l)"
fi
exec "$PYTHON" benchmarks/gpu_check.py "$@"
