"""
A balance is set where the rules are, and nowhere else: read from the source of the ledger, and of
an application that has given its own balance code up.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("server", "examples/building_management")

# Where a balance may be set, and why.
PLACES = {
    "server/ledger/rules.py": "decides what a change makes of an account",
    "server/ledger/journal.py": "writes what was decided, in the batch that decided it",
    "server/ledger/importing.py": "adds verified lines up to the accounts of an empty ledger",
    "server/ledger/statements.py": "adds up the balance of an earlier day, which is not stored",
    "server/ledger/proof/account_pages.py": "adds up what should be stored, to compare with it",
    "server/ledger/schema.py": "names the columns",
    "server/ledger/migrations/versions/v0001_first_schema.py": "makes them",
}

_BALANCE = re.compile(r"(\w+_)?balance")
_SQL = re.compile(
    r"\b(INSERT\s+INTO|REPLACE\s+INTO|UPDATE)\s+accounts\b|\bSET\b.*\b(\w+_)?balance\s*=",
    re.IGNORECASE | re.DOTALL,
)
_REPLACING = {"replace", "_replace", "__replace__", "values", "evolve"}
_WRITING = {"insert", "update"}


def settings_of_balances(source: str) -> list[int]:
    """The lines at which `source` sets a balance: of an object, a mapping, a row or a column."""
    nodes = ast.walk(ast.parse(source))
    found = (node for node in nodes if isinstance(node, (ast.stmt, ast.expr)))
    return sorted({node.lineno for node in found if _sets_balance(node)})


def _sets_balance(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=targets):
            return any(_is_balance(each) for target in targets for each in ast.walk(target))
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            return _is_balance(target)
        case ast.Call():
            return _call_sets_balance(node)
        case ast.Constant(value=str()) | ast.JoinedStr():
            return _SQL.search(_text(node)) is not None
    return False


def _is_balance(target: ast.AST) -> bool:
    match target:
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return _BALANCE.fullmatch(name) is not None
    return False


def _call_sets_balance(call: ast.Call) -> bool:
    name = _name(call.func)
    texts = [each.value for each in call.args if isinstance(each, ast.Constant)]
    named = any(isinstance(text, str) and _BALANCE.fullmatch(text) for text in texts)
    if name in ("setattr", "__setattr__", "Column", "mapped_column"):
        return named
    if name in _WRITING:
        return any(_name(each) == "accounts" for each in call.args)
    if name not in _REPLACING:
        return False
    keys = [
        key.value
        for argument in call.args
        for each in ast.walk(argument)
        if isinstance(each, ast.Dict)
        for key in each.keys
        if isinstance(key, ast.Constant)
    ]
    names = [*keys, *(keyword.arg for keyword in call.keywords)]
    return any(isinstance(each, str) and _BALANCE.fullmatch(each) for each in names)


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _text(node: ast.AST) -> str:
    """The text of a string, with a gap for each value in it."""
    return " ".join(
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def _files() -> Iterator[Path]:
    for folder in SOURCES:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_a_balance_is_set_where_the_rules_are() -> None:
    found = {}
    for file in _files():
        lines = settings_of_balances(file.read_text())
        if lines:
            found[file.relative_to(ROOT).as_posix()] = lines
    assert {file: lines for file, lines in found.items() if file not in PLACES} == {}
    # A reason that has no place any more is no reason.
    assert found.keys() == PLACES.keys()


PLANTED = """
account.balance = 5
account.balance += amount
account.balance: int = 5
row["balance"] = amount
wallet.deltacoin_balance -= 1
account.seq, account.balance = 1, 2
replace(account, seq=1, balance=5)
account._replace(balance=5)
update(accounts).where(accounts.c.id == 1)
insert(schema.accounts)
table.update().values(balance=5)
table.update().values({"balance": 5})
setattr(account, "balance", 5)
text("UPDATE accounts SET seq = 1")
text(f"UPDATE {table} SET seq = 1, balance = balance + :amount")
text("INSERT INTO accounts (id) VALUES (1)")
Column("balance", Integer)
"""

HARMLESS = """
balance = account.balance + amount
if account.balance == 5: pass
get_balance(user, balance=5)
row["amount"] = row["balance"]
text("SELECT balance FROM accounts WHERE balance = 5")
account: Account = read(balance)
def report(balance: int = 5) -> None: "Set the balance right."
"""


@pytest.mark.parametrize("line", PLANTED.strip().splitlines())
def test_what_sets_a_balance(line: str) -> None:
    assert settings_of_balances(line) == [1]


@pytest.mark.parametrize("line", HARMLESS.strip().splitlines())
def test_what_sets_none(line: str) -> None:
    assert settings_of_balances(line) == []


def test_a_planted_line_is_found() -> None:
    source = (ROOT / "examples/building_management/building/management.py").read_text()
    before, after = source.split("        return await self._ledger.get_balance", 1)
    planted = f"{before}        row.balance += 5\n        return await self._ledger{after}"
    assert settings_of_balances(planted) == [before.count("\n") + 1]
