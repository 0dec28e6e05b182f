"""A stand-in for the Dataflow service: takes what Beam's client sends, and works the job that was staged.

The bucket is the real fake-gcs-server. What cannot be had here is Google's side of it: machines, containers, pools.
"""

import json
import threading
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud.storage import Client

from tests.contracts.gcs_server import BUCKET, Gate

PROJECT, REGION = "test-project", "europe-west1"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/ruiji/ruiji:1"
_EMBEDDED = "beam:env:embedded_python:v1"
_MESSAGES = "messages"


@dataclass
class Job:
    """A job that was submitted.

    Attributes:
        request: the body that created it.
        pipeline: that was staged.
        error: why it failed, "" where it did not.
        polls: how often its state was asked for.
    """

    request: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    error: str = ""
    polls: int = 0

    @property
    def environment(self) -> dict[str, Any]:
        found: dict[str, Any] = self.request["environment"]
        return found

    @property
    def options(self) -> dict[str, Any]:
        """That the workers are told."""
        found: dict[str, Any] = self.environment["sdkPipelineOptions"]["options"]
        return found

    @property
    def pool(self) -> dict[str, Any]:
        (found,) = self.environment["workerPools"]
        return dict(found)

    def hints(self) -> dict[str, dict[str, str]]:
        """Full name of each transform that runs in an environment -> the hints of that, by the ends of their urns."""
        return hints_of(self.pipeline)


def hints_of(pipeline: beam_runner_api_pb2.Pipeline) -> dict[str, dict[str, str]]:
    """Full name of each transform that runs in an environment -> the hints of that, by the ends of their urns."""
    environments = pipeline.components.environments
    return {
        transform.unique_name: {
            urn.split(":")[2]: value.decode()
            for urn, value in environments[transform.environment_id].resource_hints.items()
        }
        for transform in pipeline.components.transforms.values()
        if transform.environment_id
    }


@dataclass
class Dataflow:
    """The service at `endpoint`, and the bucket at `gate.url`.

    Attributes:
        gate: of the bucket.
        works: whether jobs are worked, and in the request that submits them; else they are done at once.
        failing: what a job that is not worked fails with, after its state has been asked for once.
        jobs: that were submitted.
    """

    folder: Path
    works: bool = False
    failing: str = ""
    jobs: list[Job] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.gate = Gate(self.folder)
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = service._handle(self.command, urlsplit(self.path).path, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, format: str, *values: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A name with `localhost` makes Beam's client speak HTTP; all others are asked by gRPC over TLS.
        self.endpoint = f"http://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.gate.close()

    def flags(self, prefix: str) -> tuple[str, ...]:
        """Of a job whose files are staged below gs://bucket/<prefix>/."""
        return (
            "--runner=DataflowRunner",
            f"--project={PROJECT}",
            f"--region={REGION}",
            f"--temp_location=gs://{BUCKET}/{prefix}/temp",
            f"--staging_location=gs://{BUCKET}/{prefix}/staging",
            f"--sdk_container_image={IMAGE}",
            f"--dataflow_endpoint={self.endpoint}",
            "--no_auth",
        )

    def names(self, prefix: str) -> list[str]:
        """Objects of the bucket below a prefix, the prefix cut off."""
        with Client.create_anonymous_client() as client:
            return sorted(blob.name.removeprefix(prefix) for blob in client.list_blobs(BUCKET, prefix=prefix))

    def read(self, url: str) -> bytes:
        """An object."""
        with Client.create_anonymous_client() as client:
            data: bytes = client.bucket(BUCKET).blob(url.removeprefix(f"gs://{BUCKET}/")).download_as_bytes()
        return data

    def pipeline(self, request: dict[str, Any]) -> beam_runner_api_pb2.Pipeline:
        """That a request to create a job names."""
        url = request["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
        return beam_runner_api_pb2.Pipeline.FromString(self.read(url))

    def _handle(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        jobs = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
        if (method, path) == ("POST", jobs):
            return 200, self._create(json.loads(body))
        rest = path.removeprefix(f"{jobs}/").split("/")
        if method != "GET" or not path.startswith(f"{jobs}/") or not rest[0].isdigit():
            return 404, {"error": {"code": 404, "message": f"{method} {path}"}}
        job = self.jobs[int(rest[0])]
        if rest[1:] == [_MESSAGES]:
            message = {
                "time": "2026-01-01T00:00:00Z",
                "messageText": self.failing,
                "messageImportance": "JOB_MESSAGE_ERROR",
            }
            return 200, {"jobMessages": [{"id": "1", **message}] if self.failing else []}
        job.polls += 1
        return 200, self._told(int(rest[0]))

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        job = Job(request, self.pipeline(request))
        self.jobs.append(job)
        if self.works:
            try:
                work(job.pipeline)
            except Exception:
                job.error = traceback.format_exc()
        return self._told(len(self.jobs) - 1)

    def _told(self, number: int) -> dict[str, Any]:
        job = self.jobs[number]
        state = "JOB_STATE_FAILED" if job.error or (self.failing and job.polls > 1) else "JOB_STATE_DONE"
        if self.failing and job.polls <= 1:
            state = "JOB_STATE_RUNNING"
        names = {name: job.request[name] for name in ("name", "clientRequestId")}
        return {"id": str(number), "projectId": PROJECT, "location": REGION, "currentState": state, **names}


def work(pipeline: beam_runner_api_pb2.Pipeline) -> None:
    """Works a staged pipeline in this process, in environments of the same number as were submitted."""
    copied = beam_runner_api_pb2.Pipeline()
    copied.CopyFrom(pipeline)
    for environment in copied.components.environments.values():
        environment.urn, environment.payload = _EMBEDDED, b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(copied, PipelineOptions(["--runner=FnApiRunner"])).wait_until_finish()
