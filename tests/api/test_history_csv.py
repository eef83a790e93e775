"""A user's history as CSV: a row for each change, page by page."""

from __future__ import annotations

import csv
import io
import re

from .conftest import Edge

CSV = {"Accept": "text/csv"}


async def test_a_history_is_had_as_csv(edge: Edge) -> None:
    for amount in ("1", "2", "3"):
        body = {"user_id": "alice", "asset": "EUR", "amount": amount, "reference": "=1+1"}
        await edge.post("/v1/deposits", body | {"metadata": {"via": "bank, by hand"}})
    answer = await edge.get("/v1/users/alice/history?limit=2&asset=EUR", headers=CSV)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="history-alice.csv"'
    first, second = csv.DictReader(io.StringIO(answer.text, newline=""), strict=True)
    assert [first[name] for name in ("account", "amount", "balance_before", "balance")] == [
        "main/alice/EUR",
        "3.00",
        "3.00",
        "6.00",
    ]
    assert (first["change_type"], first["reference"]) == ("deposit", "=1+1")
    assert first["metadata"] == '{"via":"bank, by hand"}'
    assert (second["position"], second["amount"]) == ("2", "2.00")

    link = re.fullmatch(r'<(\?.+)>; rel="next"', answer.headers["link"])
    assert link is not None
    rest = await edge.get(f"/v1/users/alice/history{link[1]}", headers=CSV)
    (last,) = csv.DictReader(io.StringIO(rest.text, newline=""), strict=True)
    assert last["amount"] == "1.00"
    assert "link" not in rest.headers


async def test_nothing_is_a_table_without_rows(edge: Edge) -> None:
    answer = await edge.get("/v1/users/nobody/history", headers=CSV)
    assert answer.text.startswith("position,transaction_id,")
    assert answer.text.count("\r\n") == 1
