"""Reversals: a transaction undone by another, once. Pure."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from .catalog import Catalog
from .changes import Change, Details, make_change
from .errors import InvalidRequest, NotReversible
from .intents import Leg, Reverse
from .transaction_types import TransactionTypes

# Kept in the metadata, so that whoever reads the journal knows why a floor was passed.
FORCED = "forced"


class Original(Struct, frozen=True):
    """
    A committed transaction to be undone: its id, the name of its type, and all its legs; earned:
    whether it counted into `total_earned`, which its type may have been marked for only later.
    """

    id: str
    type: str
    legs: tuple[Leg, ...]
    earned: bool = False


def reverse(
    catalog: Catalog,
    types: TransactionTypes,
    original: Original,
    *,
    forced: bool,
    details: Details,
) -> Change:
    """
    The undoing of `original`, past the floors where `forced`. Raises NotReversible, and
    InvalidRequest where it is to be effective at another time than now.
    """
    if details.effective_at is not None:
        raise InvalidRequest("a reversal is effective now", pointer="/effective_at")
    if original.type not in types:
        raise NotReversible(f"the type {original.type!r} is not known here")
    kind = types[original.type]
    if not kind.reversible:
        raise NotReversible(f"a {kind.name} is not reversible")
    legs = tuple(Leg(leg.key, -leg.amount) for leg in original.legs)
    assets = sorted({leg.key.asset for leg in legs})
    if forced:
        details = replace(details, metadata={**(details.metadata or {}), FORCED: True})
    return make_change(
        types["reversal"],
        tuple(catalog.asset(code) for code in assets),
        Reverse(original.id, legs, kind.counts, forced, original.earned),
        details,
        None,
    )
