"""Moving an application that has balances of its own to the ledger."""

from .opening_balances import ControlTotals, ImportedBook, Refused, import_balances
from .sources import CannotRead, CsvSource, Source, TableSource

__all__ = [
    "CannotRead",
    "ControlTotals",
    "CsvSource",
    "ImportedBook",
    "Refused",
    "Source",
    "TableSource",
    "import_balances",
]
