"""The Docker engine."""

from obuild.engine.docker.engine import DockerEngine

__all__ = ["DockerEngine"]
