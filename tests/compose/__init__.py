"""`make test-compose`: the acceptance tests against docker-compose.yml on a real engine."""
