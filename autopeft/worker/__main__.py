"""``python -m autopeft.worker``: a supervisor; with ``--only``, the process of one lane."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from autopeft import process
from autopeft.errors import AutopeftError, StoreError
from autopeft.service.job import Lane
from autopeft.settings import Settings, settings
from autopeft.worker.stopping import Stopping

_GRACE = 20.0
_NICE = 10


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, work, and return the exit code."""
    given = _parser().parse_args(words)
    os.umask(0o077)  # stores, data sets and results hold what only their owner may read
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    try:
        chosen = settings(store=given.store)
        if given.only:
            return _lane(Lane(given.only), given.name, chosen, tied=given.tied)
        from autopeft.worker.supervisor import LANES, supervise

        lanes = [Lane(name) for name in given.lane or LANES]
        return supervise(chosen.store_url, lanes, chosen.service, tied=given.tied)
    except AutopeftError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m autopeft.worker", description=__doc__)
    names = [lane.value for lane in Lane]
    parser.add_argument("--store", help="where jobs and studies are kept (also AUTOPEFT_STORE)")
    parser.add_argument("--lane", action="append", choices=names, help="which work; repeatable")
    parser.add_argument("--tied", action="store_true", help="end when standard input closes")
    parser.add_argument("--only", choices=names, help="be the process of this lane")
    parser.add_argument("--name", default="worker", help="what that process is called")
    return parser


def _lane(lane: Lane, name: str, chosen: Settings, *, tied: bool) -> int:
    process.prepare()
    if hasattr(os, "nice"):  # whoever asks the service goes before what it computes
        os.nice(_NICE)
    from autopeft.training.importing import import_all
    from autopeft.wiring.sockets import service_of, store_of
    from autopeft.worker.lane import LET_GO, Worker
    from autopeft.worker.means import Means

    stopping = Stopping()
    stopping.on_signals(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
    if tied:
        stopping.with_parent(_GRACE)
    import_all()  # before a job is claimed: nothing is lost with who dies meanwhile
    try:
        with service_of(chosen.store_url).closing() as service:
            means = Means(
                service=service,
                store=store_of(chosen.store_url),
                settings=chosen.service,
                cache=chosen.cache_folder,
                block_cache=chosen.block_cache,
                memory=chosen.memory_bytes,
            )
            return Worker(means, lane, name, stopping, main=True).run()
    except StoreError as error:
        logging.getLogger(__name__).warning("%s", error)
        return LET_GO


if __name__ == "__main__":
    sys.exit(main())
