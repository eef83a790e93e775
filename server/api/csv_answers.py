"""Answers as CSV, for those who prefer it: what RFC 4180 says, in UTF-8."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from starlette.responses import Response

from .calls import Call

CSV = "text/csv"
JSON = "application/json"

# A file's name must do for every system.
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def wants_csv(call: Call) -> bool:
    """
    Whether the call's Accept headers prefer CSV to JSON, and note that the answer depends on
    them. JSON is for those who do not mind.
    """
    call.headers["Vary"] = "Accept"
    return prefers_csv(",".join(call.request.headers.getlist("accept")))


def prefers_csv(accept: str) -> bool:
    """
    Whether `accept` (RFC 9110, section 12.5.1) gives CSV the higher quality or, where both have
    the same, names CSV more precisely than JSON.
    """
    return _rank(accept, CSV) > max(_rank(accept, JSON), (0.0, 3))


def csv_answer(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """The download of `rows` under a header of `columns`, as a file called after `name`."""
    file = _UNFIT.sub("-", name)
    headers = {"Content-Disposition": f'attachment; filename="{file}.csv"'}
    return Response(csv_rows([columns, *rows]), headers=headers, media_type=f"{CSV}; charset=utf-8")


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """
    The rows (text, whole numbers; None is an empty field), each ended by CR LF. A text stays as
    it is, also where a spreadsheet would take it for a formula: a program must read what was kept.
    """
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


def _rank(accept: str, media_type: str) -> tuple[float, int]:
    """The quality that `accept` gives to `media_type`, and how precisely it names it."""
    kind = media_type.split("/")[0]
    precision = {"*/*": 0, f"{kind}/*": 1, media_type: 2}
    best = (-1, 0.0)
    for each in accept.lower().split(","):
        named, *parameters = (part.strip() for part in each.split(";"))
        quality = "1"
        for parameter in parameters:
            if parameter.startswith("q="):
                quality = parameter[2:]
        if named in precision and _QUALITY.fullmatch(quality):
            best = max(best, (precision[named], float(quality)))
    return best[1], best[0]
