# The collector with its configuration in it: docker build -f deploy/ecs/collector.Dockerfile .
FROM otel/opentelemetry-collector-contrib:0.159.0
COPY observability/collector/collector.yaml /etc/collector/collector.yaml
USER 10001:10001
CMD ["--config", "/etc/collector/collector.yaml"]
