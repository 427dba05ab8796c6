"""`python -m tuner.service.supervised`: exit code 0 where a supervisor is there, as a container's health check asks."""

from __future__ import annotations

import sys
from contextlib import closing

from tuner.api.workspace import workspace
from tuner.errors import TunerError
from tuner.ledger.ledger import Ledger


def main() -> int:
    """Look into the ledger of the environment."""
    try:
        places = workspace()
        with closing(Ledger.look(places.database, places.folder)) as ledger:
            return 0 if ledger.supervision.holder() is not None else 1
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
