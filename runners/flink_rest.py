"""What a Flink job manager tells over its REST service, and what it is asked to do there."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from pairmill.sharding.errors import PairmillError

ANSWER_S = 20.0
POLL_S = 0.5
#: So long a job may take to stop once it was told to; a step in the middle of a block notices late.
CANCEL_S = 40.0
#: States of a job that has workers, or may get some.
ALIVE = ("INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "CANCELLING", "SUSPENDED", "RECONCILING")


@dataclass(frozen=True)
class Cluster:
    """A session cluster: Flink's version, slots of all task managers and of the largest, and slots that are free."""

    version: str
    slots: int
    slots_per_task_manager: int
    slots_free: int

    @property
    def release(self) -> str:
        """The version without its last number, which is what a job server must be made for."""
        return ".".join(self.version.split(".")[:2])


class JobManager:
    """The REST service at HOST:PORT, or at a URL."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._url = address if "://" in address else f"http://{address}"
        self._url = self._url.rstrip("/")

    def cluster(self) -> Cluster:
        """What the cluster is. Raises PairmillError where nothing answers, or what answers is no job manager."""
        told = self._asked("/overview")
        version = told.get("flink-version") if isinstance(told, dict) else None
        if not isinstance(version, str):
            raise PairmillError(f"--flink-master {self.address}: what answers there is no Flink job manager")
        managers = self._asked("/taskmanagers")["taskmanagers"]
        most = max((int(manager["slotsNumber"]) for manager in managers), default=0)
        return Cluster(version, int(told["slots-total"]), most, int(told["slots-available"]))

    def jobs(self, name: str) -> list[str]:
        """The ids of jobs that are not at their end, and whose name ends as this one does: behind its last dash."""
        jobs = self._asked("/jobs/overview")["jobs"]
        return [str(job["jid"]) for job in jobs if _work(job["name"]) == _work(name) and job["state"] in ALIVE]

    def cancel(self, name: str) -> int:
        """Cancel the jobs that ``jobs`` finds for a name and wait until they are gone; returns how many there were.

        Raises PairmillError where one does not go.
        """
        jobs = self.jobs(name)
        for job in jobs:
            self._send("PATCH", f"/jobs/{job}?mode=cancel")
        end = time.monotonic() + CANCEL_S
        while left := self.jobs(name) if jobs else []:
            if time.monotonic() > end:
                raise PairmillError(
                    f"--flink-master {self.address}: an older job of this run ({left[0]}) was cancelled and is still "
                    "there; cancel it on Flink's page, and run the same command again"
                )
            time.sleep(POLL_S)
        return len(jobs)

    def _asked(self, path: str) -> Any:
        answer = self._send("GET", path)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise PairmillError(f"--flink-master {self.address}: what answers there is no Flink job manager") from error

    def _send(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"{self._url}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):  # of a cancel: the job is gone already
                return b"null"
            raise PairmillError(
                f"--flink-master {self.address}: it answers {error.code} to {path}; is it Flink's REST address?"
            ) from error
        except (OSError, ValueError) as error:  # no answer, half an answer, another protocol
            told = getattr(error, "reason", None) or error
            told = getattr(told, "strerror", None) or told
            raise PairmillError(
                f"--flink-master {self.address}: nothing answers there ({told}); is the job manager running, and is "
                "this its REST address?"
            ) from error
        except Exception as error:  # http.client's own, of what speaks no HTTP
            raise PairmillError(
                f"--flink-master {self.address}: what answers there is no Flink job manager ({error})"
            ) from error


def _work(name: object) -> str:
    return str(name).rpartition("-")[2]
