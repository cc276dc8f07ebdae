# gatito on a CPU:            docker build -t gatito .
# on a GPU (CUDA's torch):    docker build -t gatito --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
# a run, results outside it:  docker run --rm -v "$PWD/results:/gatito/results/runs" gatito suite=classic
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# git names the commit in every manifest; swig and a compiler build Box2D where it has no wheel.
RUN apt-get update && apt-get install --yes --no-install-recommends git build-essential swig \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /gatito
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0

COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[all]'

ENTRYPOINT ["gatito"]
CMD ["--help"]
