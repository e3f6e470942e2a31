"""`publish`: what stages built becomes one release, named by the digest of its manifest.

Slugs stay in the content store:

    with:
      artifacts: [backend, frontend, database]

Images are pushed to a registry, and named by the digest that it answers from there on:

    with:
      artifacts: [build-backend, build-frontend]
      registry: registry.example:5000
      repository: burger                       # each image goes to burger/COMPONENT
      secrets: {username: registry-user, password: registry-password}
"""

from pipelines.executors.publish.executor import PublishExecutor

__all__ = ["PublishExecutor"]
