"""Registering a mirror: what the database says of the table, its column and its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    Connection,
    Float,
    Inspector,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Uuid,
    inspect,
)
from sqlalchemy.types import TypeEngine

from .. import schema
from ..catalog import Catalog
from ..changes import check_text
from ..errors import InvalidRequest
from ..migrations import VERSION_TABLE
from .mirror import KeyColumn, Mirror, MirrorOptions, check_options, check_places

LONGEST_NAME = 64

_KINDS = ("integer", "decimal")
_UNLESS_SAID: dict[str, Any] = {
    "book": "main",
    "value": "balance",
    "on_failure": "abort",
    "on_drift": "adopt",
    "mode": "write",
}


class _Gone(InvalidRequest):
    """The table or a column of it is not there."""


def describe(connection: Connection, catalog: Catalog, name: str, options: MirrorOptions) -> Mirror:
    """
    The mirror that `options` ask for, its id still 0. Raises InvalidRequest where the
    database has no such table, column or key or they do not fit; UnknownAsset, UnknownBook.
    A mirror that is registered so already stays as it is while its table is gone.
    """
    try:
        return _described(connection, catalog, name, options)
    except _Gone:
        for present in catalog.mirrors:
            if present.name == name and _is_asked_for(present, options):
                return present
        raise


def _is_asked_for(present: Mirror, options: MirrorOptions) -> bool:
    asked = {**_UNLESS_SAID, **options}
    key = {str(column): template for column, template in options["key"].items()}
    return {column.name: column.template for column in present.key} == key and all(
        value is None or value == getattr(present, option)
        for option, value in asked.items()
        if option != "key"
    )


def _described(
    connection: Connection, catalog: Catalog, name: str, options: MirrorOptions
) -> Mirror:
    if not check_text(name, "name", LONGEST_NAME):
        raise InvalidRequest("a mirror has a name", pointer="/name")
    table, column, key = options["table"], options["column"], options["key"]
    said = {**_UNLESS_SAID, **options}
    book, value = said["book"], said["value"]
    on_failure, on_drift, mode = said["on_failure"], said["on_drift"], said["mode"]
    check_options(value=value, on_failure=on_failure, on_drift=on_drift, mode=mode)
    check_places(book, key)
    if "{" not in book and catalog.book(book).side == "debit" and value == "available":
        raise InvalidRequest("a debit book has no available", pointer="/value")
    asset = catalog.asset(options["asset"])
    inspector: Inspector = inspect(connection)
    columns = _columns(inspector, table)
    kind = _kind(columns, column, options.get("kind"), asset.scale)
    key_columns = tuple(
        KeyColumn(str(each), _key_type(connection.dialect.name, columns, each), template)
        for each, template in key.items()
    )
    _check_unique(inspector, table, set(key))
    if column in key:
        raise InvalidRequest("the mirrored column is part of the key", pointer="/column")
    # SQLAlchemy's own names are a kind of str that JSON does not know.
    return Mirror(
        id=0,
        name=str(name),
        table=str(table),
        column=str(column),
        kind=kind,
        key=key_columns,
        book=book,
        asset=asset.code,
        value=value,
        on_failure=on_failure,
        on_drift=on_drift,
        mode=mode,
    )


def _place(table: str) -> tuple[str, str | None]:
    """The name of a table and its schema."""
    of_schema, _, name = table.rpartition(".")
    return name, of_schema or None


def _columns(inspector: Inspector, table: str) -> Mapping[str, TypeEngine[Any]]:
    if not isinstance(table, str) or not table or table.count(".") > 1:
        raise InvalidRequest(
            "table is a table's name, perhaps with its schema and a dot", pointer="/table"
        )
    name, of_schema = _place(table)
    if of_schema in (None, inspector.default_schema_name) and (
        name in schema.metadata.tables or name == VERSION_TABLE
    ):
        raise InvalidRequest(f"{table!r} is the ledger's own", pointer="/table")
    if not inspector.has_table(name, of_schema):
        raise _Gone(f"there is no table {table!r}", pointer="/table")
    return {each["name"]: each["type"] for each in inspector.get_columns(name, of_schema)}


def _kind(
    columns: Mapping[str, TypeEngine[Any]], column: str, wanted: str | None, scale: int
) -> Any:
    """The kind of the column; raises InvalidRequest where it cannot hold the amounts exactly."""
    type_ = _type(columns, column, "/column")
    decimals: int | None
    if isinstance(type_, Integer):
        found, decimals = "integer", 0
    elif isinstance(type_, Numeric) and not isinstance(type_, Float):
        found, decimals = "decimal", type_.scale
    else:
        raise InvalidRequest(
            f"{column!r} is neither an integer nor a decimal column", pointer="/column"
        )
    kind = found if wanted is None else wanted
    if kind not in _KINDS:
        raise InvalidRequest("a mirror's kind is integer or decimal", pointer="/kind")
    if kind == "decimal" and decimals is not None and decimals < scale:
        raise InvalidRequest(
            f"{column!r} has {decimals} decimals and the asset {scale}", pointer="/column"
        )
    return kind


def _key_type(dialect: str, columns: Mapping[str, TypeEngine[Any]], column: str) -> str:
    """The SQL type that a parameter is cast to, so that the column's index is used."""
    type_ = _type(columns, column, "/key")
    if dialect == "sqlite":
        # The column's affinity reads the text.
        return "text"
    if isinstance(type_, Integer):
        if isinstance(type_, SmallInteger):
            return "smallint"
        return "bigint" if isinstance(type_, BigInteger) else "integer"
    if isinstance(type_, Uuid):
        return "uuid"
    if type_.__visit_name__ == "CITEXT":
        return "citext"
    if isinstance(type_, String):
        return "bpchar" if isinstance(type_, CHAR) else "text"
    raise InvalidRequest(
        f"the key's {column!r} is neither an integer, a text nor a UUID", pointer="/key"
    )


def _type(columns: Mapping[str, TypeEngine[Any]], column: str, pointer: str) -> TypeEngine[Any]:
    if column not in columns:
        raise _Gone(f"there is no column {column!r}", pointer=pointer)
    return columns[column]


def _check_unique(inspector: Inspector, table: str, key: set[str]) -> None:
    """Raise InvalidRequest where the columns `key` could find more than one row."""
    name, of_schema = _place(table)
    unique = [inspector.get_pk_constraint(name, of_schema)["constrained_columns"]]
    unique += [each["column_names"] for each in inspector.get_unique_constraints(name, of_schema)]
    # SQLite names no constraint for a column that is declared UNIQUE, but has an index for it.
    sqlite = inspector.dialect.name == "sqlite"
    automatic = {"include_auto_indexes": True} if sqlite else {}
    for index in inspector.get_indexes(name, of_schema, **automatic):
        options = index.get("dialect_options", {})
        partial = any(option.endswith("_where") for option in options)
        if index["unique"] and not partial and "expressions" not in index:
            unique.append([str(column) for column in index["column_names"]])
    if not any(columns and set(columns) <= key for columns in unique):
        raise InvalidRequest(
            f"{table!r} has no primary or unique key among {', '.join(sorted(key)) or 'none'}",
            pointer="/key",
        )
