# framehouse's services; the database is an image of its own, in compose.yaml.

FROM python:3.12-slim AS install
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1

# uv first, by the lock's own hash. It holds every further package against the lock as well; pip cannot, for it takes a
# lock with hashes to mean that the project's own folder must have one.
COPY requirements.lock ./
RUN awk '/^uv==/{on=1} on{print} on && !/\\$/{exit}' requirements.lock > uv.lock \
    && python -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --quiet --require-hashes --no-deps --requirement uv.lock \
    && python -m venv --without-pip /opt/framehouse

COPY pyproject.toml README.md LICENSE ./
COPY framehouse framehouse
COPY ingest ingest
COPY api api
COPY migrations migrations
COPY dbt_project dbt_project
RUN /opt/uv/bin/uv pip install --quiet --python /opt/framehouse/bin/python --constraint requirements.lock '.[dbt,embedded,server]'


FROM python:3.12-slim
RUN groupadd --system --gid 10001 framehouse \
    && useradd --system --uid 10001 --gid framehouse --no-create-home --home-dir /var/lib/framehouse framehouse \
    && install --directory --owner framehouse --group framehouse /var/lib/framehouse
COPY --from=install /opt/framehouse /opt/framehouse
ENV PATH=/opt/framehouse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FRAMEHOUSE_HOME=/var/lib/framehouse
USER framehouse
WORKDIR /var/lib/framehouse
VOLUME /var/lib/framehouse
EXPOSE 8700
HEALTHCHECK --interval=10s --timeout=5s --start-period=1m --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8700/healthz', timeout=3)"]
ENTRYPOINT ["framehouse"]
CMD ["serve"]
