# docker build -t trailward . && docker run --rm -v "$PWD/runs:/runs" trailward demo --out /runs/demo
FROM python:3.12-slim
RUN useradd --create-home user && mkdir /runs && chown user /runs
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu ".[maze,table]"
USER user
WORKDIR /runs
ENTRYPOINT ["trailward"]
