# One image for every process of ours. docker-compose.yml names the commands: api, worker, payments, migrate, seed,
# pager, prober. Health is checked from there too, because each process has a port of its own.

FROM python:3.13.14-slim-trixie AS packages
COPY requirements.image.lock .
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-cache-dir --disable-pip-version-check \
       --require-hashes --only-binary :all: -r requirements.image.lock

FROM python:3.13.14-slim-trixie
# Volumes take over the owner of the folder that they cover first; the one-shot service `prepare` covers them all.
RUN pip uninstall --yes --quiet --root-user-action ignore pip \
    && groupadd --gid 10001 signalbox \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin signalbox \
    && install -d -o 10001 -g 10001 -m 0750 /run/secrets /run/settings /run/targets /var/log/signalbox \
       /var/lib/signalbox /var/lib/signalbox/collector /var/lib/signalbox/jaeger /var/lib/signalbox/pager
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY pyproject.toml ./
COPY docs/runbooks docs/runbooks
COPY incidents incidents
COPY slo slo
COPY stack stack
COPY service service
RUN /opt/venv/bin/python -m compileall -q .

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Signalbox" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIGNALBOX_VERSION=${VERSION} \
    SIGNALBOX_REVISION=${REVISION}
USER 10001:10001
CMD ["python", "-m", "service", "--help"]
