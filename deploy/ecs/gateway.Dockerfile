# The gateway with its configuration in it, since a Fargate task mounts no files: docker build -f deploy/ecs/gateway.Dockerfile .
FROM caddy:2.11.4-alpine
COPY deploy/gateway/Caddyfile /etc/caddy/Caddyfile
COPY deploy/gateway/static /etc/caddy/static
USER 10001:10001
