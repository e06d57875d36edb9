# docker build -t fedirl . && docker run --shm-size=2g -v "$PWD/runs:/work/runs" fedirl --seeds 5
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY fedirl_ray fedirl_ray
COPY sweeps sweeps
RUN pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.11-slim
COPY constraints.txt /tmp/
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt /wheels/*.whl \
    && rm -r /wheels /tmp/constraints.txt \
    && useradd --create-home fedirl \
    && install -d -o fedirl /work/runs
USER fedirl
WORKDIR /work
ENTRYPOINT ["fedirl"]
