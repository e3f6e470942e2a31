"""One build by the SDK's classic builder, as a command that a keeper starts: `python -P classic.py`.

The order comes as JSON on standard input, because it may hold credentials: host, context and dockerfile (paths), tag,
labels, args, target, memory (bytes), cpus, cache_from, auth (by registry), image (the file that the image's id is
written to). What the engine says goes to standard output; the exit code is 0 when an image was built, LOST when the
engine went away.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

LOST = 75  # exit code: the engine went away, EX_TEMPFAIL
PERIOD = 100_000  # microseconds, of which a processor may be used `cpus` times as many


def main() -> int:
    from docker.client import DockerClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    order = json.load(sys.stdin)
    try:
        client = DockerClient.from_env(timeout=None, environment={**os.environ, "DOCKER_HOST": order["host"]})
        return _build(client.api, order)
    except (DockerException, RequestException, OSError) as error:
        print(f"error during connect: {' '.join(str(error).split())}", flush=True)
        return LOST


def _build(api: Any, order: dict[str, Any]) -> int:
    with _packed(order) as context:
        answer = api.post(
            f"{api.base_url}/v{api.api_version}/build",
            params=_parameters(order),
            headers=_headers(order["auth"]),
            data=context,
            stream=True,
            timeout=None,
        )
    if answer.status_code != 200:
        print(f"ERROR: {answer.json().get('message', answer.text)}", flush=True)
        return 1
    image = ""
    for event in _events(answer):
        if "error" in event:
            print(f"ERROR: {event['error']}", flush=True)
            return 1
        image = (event.get("aux") or {}).get("ID") or image
        print(event.get("stream") or _pulling(event), end="", flush=True)
    if not image:
        print("unexpected EOF: the engine's answer ended before the build did", flush=True)
        return LOST
    Path(order["image"]).write_text(image)
    return 0


def _packed(order: dict[str, Any]) -> IO[bytes]:
    """The context as the command line would send it: without what .dockerignore names."""
    from docker.api.build import process_dockerfile
    from docker.utils import build

    context = order["context"]
    ignore = Path(context, ".dockerignore")
    lines = ignore.read_text().splitlines() if ignore.is_file() else []
    exclude = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    dockerfile = process_dockerfile(order["dockerfile"], context)
    order["dockerfile"] = dockerfile[0]
    return build.tar(context, exclude=exclude, dockerfile=dockerfile, gzip=False)


def _parameters(order: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "t": order["tag"],
        "dockerfile": order["dockerfile"],
        "labels": json.dumps(order["labels"]),
        "buildargs": json.dumps(order["args"]),
        "rm": "true",
        "forcerm": "true",
    }
    # Without a list of images to take from, the cache of everybody would be used.
    parameters |= {"cachefrom": json.dumps(order["cache_from"])} if order["cache_from"] else {"nocache": "true"}
    if order["target"]:
        parameters["target"] = order["target"]
    if order["memory"]:
        parameters |= {"memory": order["memory"], "memswap": order["memory"]}
    if order["cpus"]:
        parameters |= {"cpuperiod": PERIOD, "cpuquota": int(order["cpus"] * PERIOD)}
    return parameters


def _headers(auth: dict[str, Any]) -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
    return {"Content-Type": "application/x-tar"} | ({"X-Registry-Config": encoded} if auth else {})


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.strip():
            yield json.loads(line)


def _pulling(event: dict[str, Any]) -> str:
    if "status" not in event or event.get("progress"):
        return ""
    return f"{event.get('id', '')} {event['status']}".strip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
