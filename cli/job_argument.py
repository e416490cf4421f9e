"""JOB in a shell: the ids and names that it may be, when the user asks for completion."""

from __future__ import annotations

import click

from serenity.cli.client import Framework
from serenity.cli.failure import Failure
from serenity.wire.messages import api

_MOST = 200


def complete_job(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names and ids of the newest jobs that have not ended; of the newest of all jobs where none of those match."""
    try:
        framework = Framework(ctx.params.get("url"))
        for state in ("active", "all"):
            jobs = framework.get("/v1/jobs", api.Jobs, state=state, limit=_MOST).jobs
            words = [word for job in jobs for word in (job.name, job.id) if word.startswith(incomplete)]
            if words:
                return list(dict.fromkeys(words))
    except Failure:
        pass  # While somebody types there is no place for an error; the verb itself will say it.
    return []
