"""The container form of the stack: docker-compose.yml on whichever engine answers `docker`."""
