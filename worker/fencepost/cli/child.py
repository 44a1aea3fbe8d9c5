"""A worker process under a supervisor: ``python -m fencepost.cli.child``, with the link as standard input."""

from __future__ import annotations

import sys
import uuid
from typing import cast

import msgspec

from fencepost.cli.supervising import Order
from fencepost.cli.trouble import FAILED, explain
from fencepost.engine.child import serve
from fencepost.engine.link import Failed, ParentLink
from fencepost.engine.loading import project_files
from fencepost.engine.logs import Format, configure_logs
from fencepost.standard_streams import secure
from fencepost.web.server import serving


def main() -> int:
    """Take the order, work, end. Errors that have words go to the supervisor, bugs with their traceback to the log."""
    link = ParentLink.from_stdin()
    secure(daemon=True)
    line = link.order()
    if not line:  # the supervisor died before it could say anything
        return FAILED
    order = msgspec.json.decode(line, type=Order)
    configure_logs(cast("Format", order.log_format), order.log_level)
    try:
        config = order.config
        if order.own_build:
            config = msgspec.structs.replace(config, build=f"{config.build}-{uuid.uuid4().hex[:8]}")
        serve(config, order.modules, link.tell, parent=link, beside=serving)
    except Exception as error:
        known = explain(error)
        if known is None:
            link.tell(Failed(FAILED, f"a worker process ended by a bug: {type(error).__name__}: {error}"))
            raise
        files: dict[str, int] = getattr(error, "files", None) or project_files()
        link.tell(Failed(known.code, known.message, files))
        return known.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
