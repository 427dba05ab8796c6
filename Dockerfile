# One image for the services of docker-compose.yml: `tuner`, and MLflow's server of the same locked version.
#
#   docker build -t autoencoder-tuner .
#   docker build -t autoencoder-tuner --build-arg TORCH_INDEX=... .
#   docker build -t autoencoder-tuner-ray --build-arg EXTRAS=server,ray .
#
# TORCH_INDEX is the address of PyTorch's CPU wheels (page "Get started" of pytorch.org, behind --index-url): without it
# torch is the CUDA build, some gigabytes larger.
FROM python:3.11-slim AS build
ARG TORCH_INDEX=""
ARG EXTRAS=server
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
# For the compiled training step; without a compiler the tuner works as well, several times slower.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY constraints.txt ./
RUN python -m venv /opt/tuner
ENV PATH=/opt/tuner/bin:$PATH
RUN python -m pip install pip setuptools \
    && if [ -n "$TORCH_INDEX" ]; then python -m pip install --no-deps --index-url "$TORCH_INDEX" torch; fi
COPY pyproject.toml README.md ./
# The dependencies are a layer of their own: they stay when only the code has changed.
RUN mkdir tuner && touch tuner/__init__.py && python -m pip install --no-build-isolation ".[$EXTRAS]" && python -m pip uninstall -y autoencoder-tuner
COPY tuner ./tuner
RUN python -m pip install --no-build-isolation --no-deps . && python -m pip check

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --create-home tuner \
    && install -d -o tuner -g tuner /studies /mlflow /data /s3
COPY --from=build /opt/tuner /opt/tuner
ENV PATH=/opt/tuner/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GIT_PYTHON_REFRESH=quiet \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /studies
STOPSIGNAL SIGINT
ENTRYPOINT ["tuner"]
