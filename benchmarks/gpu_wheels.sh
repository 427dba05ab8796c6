#!/usr/bin/env bash
# Fills gpu-wheels/ with what a machine with torch still needs to run the GPU check: benchmarks/gpu_wheels.sh [PYTHON_VERSION]
#
# The versions are those of constraints.txt. Left out is what such a machine has: torch, numpy, pandas, pyarrow, scikit-learn, scipy,
# safetensors, typer, rich, PyYAML, onnx and onnxruntime with what they need. Of MLflow the parts without its server and pages.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${1:-3.12}
LIMIT=$((56 * 1024 * 1024)) # bytes of tree and wheels
PLATFORMS=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64)
NAMES=(
  filelock threadpoolctl pillow psutil onnxscript onnx_ir setuptools
  pydantic pydantic_core annotated-types typing-inspection typing_extensions
  SQLAlchemy alembic Mako MarkupSafe optuna colorlog tqdm packaging
  mlflow-skinny mlflow-tracing cachetools click cloudpickle databricks-sdk GitPython gitdb smmap importlib_metadata zipp
  opentelemetry-api opentelemetry-proto opentelemetry-sdk opentelemetry-semantic-conventions protobuf python-dotenv requests
  certifi charset-normalizer idna urllib3 sqlparse fastapi starlette uvicorn h11 anyio annotated-doc narwhals
  cryptography cffi pycparser
  pytest pytest-xdist execnet iniconfig pluggy Pygments hypothesis sortedcontainers
)

list=$(mktemp)
trap 'rm -f "$list"' EXIT
for name in "${NAMES[@]}"; do
  grep -ix "$name==.*" constraints.txt >>"$list" || { echo "constraints.txt has no $name" >&2 && exit 1; }
done
rm -rf gpu-wheels && mkdir gpu-wheels
${PYTHON:-python3} -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --python-version "$VERSION" \
  --implementation cp "${PLATFORMS[@]/#/--platform=}" --dest gpu-wheels --requirement "$list"

wheels=$(cat gpu-wheels/*.whl | wc -c)
tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 cat 2>/dev/null | wc -c)
echo "gpu-wheels/: $(compgen -G 'gpu-wheels/*.whl' | wc -l) wheels for Python $VERSION, $((wheels / 1024)) KiB; the tree: $((tree / 1024)) KiB"
[ $((wheels + tree)) -lt "$LIMIT" ] || { echo "together they are over $((LIMIT / 1024)) KiB" >&2 && exit 1; }
