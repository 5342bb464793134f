# The gateway with its configuration in it, since a Fargate task mounts no files: docker build -f deploy/ecs/gateway.Dockerfile .
FROM caddy:2.11.4-alpine
# The image's caddy carries a capability as a file attribute, and without it in the bounding set the kernel refuses to execute the file.
# The gateway listens on 8080 and needs none, so the task drops all: a copy carries no attribute.
RUN cp /usr/bin/caddy /usr/bin/caddy.plain && mv /usr/bin/caddy.plain /usr/bin/caddy
COPY deploy/gateway/Caddyfile /etc/caddy/Caddyfile
COPY deploy/gateway/static /etc/caddy/static
USER 10001:10001
