"""The browser client's arithmetic, in the browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import NewTab

pytestmark = pytest.mark.asyncio(loop_scope="session")

VECTORS = Path(__file__).parents[1] / "vectors.json"

_DIGESTS = """async (chains) => {
  const { decimalText, entryDigest } = await import("/static/tallywire-client.js");
  const wrong = [];
  for (const { account, scale, entries } of chains) {
    for (const entry of entries) {
      const decimal = (name) => decimalText(BigInt(entry[name]), scale);
      const change = {
        account, scale, seq: entry.seq, amount: decimal("amount"),
        held_change: decimal("held_change"), balance: decimal("balance"), held: decimal("held"),
      };
      const digest = await entryDigest(entry.previous, change, entry.transaction_id);
      if (digest !== entry.digest) wrong.push(`${account} ${entry.seq}`);
    }
  }
  return wrong;
}"""

_AMOUNTS = """async (cases) => {
  const { decimalText, minorUnits } = await import("/static/tallywire-client.js");
  return cases.map(([text, scale]) => {
    try {
      const units = minorUnits(text, scale);
      return [units.toString(), decimalText(units, scale)];
    } catch (error) {
      return error.name;
    }
  });
}"""


async def test_the_digests_are_those_of_the_contract(new_tab: NewTab) -> None:
    tab = await new_tab()
    await tab.page.goto(tab.base_url + "/static/test-balance-sync.html")
    chains = json.loads(VECTORS.read_text())["chains"]
    assert sum(len(chain["entries"]) for chain in chains) > 10
    assert await tab.page.evaluate(_DIGESTS, chains) == []
    chains[0]["entries"][1]["amount"] += 1
    assert await tab.page.evaluate(_DIGESTS, chains) == [f"{chains[0]['account']} 2"]


async def test_amounts_are_exact_and_refused_where_they_are_none(new_tab: NewTab) -> None:
    tab = await new_tab()
    await tab.page.goto(tab.base_url + "/static/test-balance-sync.html")
    cases = {
        ("9223372036854775807", 0): ["9223372036854775807", "9223372036854775807"],
        ("-92233720368.54775807", 8): ["-9223372036854775807", "-92233720368.54775807"],
        ("0.000001", 6): ["1", "0.000001"],
        ("-0.05", 2): ["-5", "-0.05"],
        ("-0", 2): ["0", "0.00"],
        ("1.5", 6): ["1500000", "1.500000"],
        ("1.50", 1): "RangeError",
        ("01", 2): "RangeError",
        ("1e3", 2): "RangeError",
        ("", 2): "RangeError",
        ("1,000", 2): "RangeError",
    }
    assert await tab.page.evaluate(_AMOUNTS, [list(case) for case in cases]) == [*cases.values()]
