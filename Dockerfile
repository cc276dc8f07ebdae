# gatito on a CPU:       docker build -t gatito .
# on an NVIDIA GPU:      docker build -t gatito --build-arg TORCH_INDEX=https://pypi.org/simple .
# another Python:        docker build -t gatito --build-arg PYTHON=3.13 .
# a run in this folder:  docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" gatito suite=classic
#                        (on a GPU: docker run --gpus all ...); its results are in ./results/runs
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
COPY . /gatito
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /gatito

FROM python:${PYTHON}-slim
# PyPI's Linux build of torch is made for CUDA, and takes several GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# EGL draws the clips of MuJoCo and Meta-World without a screen.
RUN apt-get update && apt-get install --yes --no-install-recommends libegl1 libgl1 \
    && rm -rf /var/lib/apt/lists/*

COPY constraints.txt /gatito/
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0
COPY --from=wheel /wheels /gatito/wheels
RUN pip install --no-cache-dir --constraint /gatito/constraints.txt "$(echo /gatito/wheels/*.whl)[all]"

# Any user may run it: what packages keep at home goes to a folder that everybody may write to.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["gatito"]
CMD ["--help"]
