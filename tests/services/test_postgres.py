"""The test database is a real one, and dies and recovers like one."""

from __future__ import annotations

from .postgres import PostgresServer


def test_runs_postgresql_18(postgres_server: PostgresServer) -> None:
    assert postgres_server.execute("SHOW server_version").startswith("18")


def test_databases_are_copies_of_their_template(postgres_server: PostgresServer) -> None:
    template = postgres_server.create_database()
    postgres_server.execute("CREATE TABLE notes (id int)", template)
    copy = postgres_server.create_database(template)
    assert postgres_server.execute("SELECT count(*) FROM notes", copy) == "0\n"
    for name in (copy, template):
        postgres_server.drop_database(name)


def test_a_killed_server_comes_back_with_what_was_committed(
    durable_postgres: PostgresServer,
) -> None:
    name = durable_postgres.create_database()
    durable_postgres.execute("CREATE TABLE notes AS SELECT 7 AS id", name)
    durable_postgres.kill9()
    durable_postgres.start()
    assert durable_postgres.execute("SELECT id FROM notes", name) == "7\n"
    assert durable_postgres.execute("SHOW fsync") == "on\n"
