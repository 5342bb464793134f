# One image for every process of ours. docker-compose.yml names the commands: api, worker, payments, migrate, seed,
# pager, prober. Health is checked from there too, because each process has a port of its own.
#
# The same commit makes the same files in the same layers: nothing is compiled with a time in it, and every file gets one
# date. The engine dates folders and deletions itself; newer ones leave that too (`rewrite-timestamp`).

FROM python:3.13.14-slim-trixie AS packages
WORKDIR /build
COPY requirements.image.lock requirements.sbom.lock ./
RUN --mount=type=cache,target=/root/.cache/pip python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-compile --disable-pip-version-check \
       --require-hashes --only-binary :all: -r requirements.image.lock
# What the image is made of, in CycloneDX's words, read off the packages as they are installed.
RUN --mount=type=cache,target=/root/.cache/pip python -m venv --without-pip /opt/sbom \
    && pip --python /opt/sbom install --no-compile --disable-pip-version-check \
       --require-hashes --only-binary :all: -r requirements.sbom.lock \
    && install -d /opt/venv/share/sbom \
    && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --spec-version 1.6 \
       --output-file /opt/venv/share/sbom/signalbox.cdx.json /opt/venv/bin/python
WORKDIR /app
COPY pyproject.toml ./
COPY docs/runbooks docs/runbooks
COPY incidents incidents
COPY slo slo
COPY stack stack
COPY service service
ARG SOURCE_DATE_EPOCH=315532800
RUN python -B -m stack.container.slim /opt/venv \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib /app \
    && find /opt/venv /app -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM python:3.13.14-slim-trixie
# What installs, fetches or is there to compile against goes: pip and the copy of it that the interpreter carries, apt,
# headers. dpkg stays: its list of packages is what a scanner reads, and by itself it fetches nothing. A layer hides
# what is below it and saves no byte.
#
# Volumes take over the owner of the folder that they cover first; the one-shot service `prepare` covers them all.
ARG SOURCE_DATE_EPOCH=315532800
RUN begun="$(date +%s)" \
    && pip uninstall --yes --quiet --root-user-action ignore pip \
    && rm -rf /usr/local/include /usr/local/lib/pkgconfig /usr/local/lib/python3.*/config-* \
       /usr/local/lib/python3.*/ensurepip /usr/local/bin/python*-config /usr/bin/apt* /usr/lib/apt \
    && echo "signalbox:x:10001:" >> /etc/group \
    && echo "signalbox:x:10001:10001::/nonexistent:/usr/sbin/nologin" >> /etc/passwd \
    && install -d -o 10001 -g 10001 -m 0770 /var/log/signalbox \
    && install -d -o 10001 -g 10001 -m 0750 /run/secrets /run/settings \
       /var/lib/signalbox /var/lib/signalbox/collector /var/lib/signalbox/jaeger /var/lib/signalbox/loki \
       /var/lib/signalbox/pager /var/lib/signalbox/faults \
    && find /etc /run /usr /var -xdev -writable -newermt "@${begun}" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +
COPY --from=packages /opt/venv /opt/venv
COPY --from=packages /app /app
WORKDIR /app

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Signalbox" \
      org.opencontainers.image.description="An instrumented FastAPI service, its SLO compiler, pager and prober" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.14-slim-trixie" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIGNALBOX_ENVIRONMENT=production \
    SIGNALBOX_VERSION=${VERSION} \
    SIGNALBOX_REVISION=${REVISION}
USER 10001:10001
CMD ["python", "-m", "service", "--help"]
