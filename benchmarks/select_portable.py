"""``pairmill run RECIPE --steps select`` on Beam's portable runner: ``python select_portable.py RECIPE POOL OUT``.

A job service of Beam's own in this process, and its workers in this process too (LOOPBACK).
"""

from __future__ import annotations

import sys
from pathlib import Path

from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.run_command import run_recipe
from pairmill.runners.runner_choice import RunnerChoice

with quick_beam():
    from apache_beam.runners.portability.local_job_service import LocalJobServicer


def main() -> None:
    recipe, pool, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    service = LocalJobServicer(str(out.with_name("staged")))
    endpoint = f"localhost:{service.start_grpc_server()}"
    runner = RunnerChoice("portable", job_endpoint=endpoint, environment_type="LOOPBACK")
    try:
        run_recipe(recipe, out, pool=pool, runner=runner, check_space=False, quiet=True, steps="select")
    finally:
        service.stop()


if __name__ == "__main__":
    main()
