"""Databases of guests: what a grant allows, what ends a statement, and what comes back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sandbox import InvalidSetting
from sandbox.grant_events import GrantEvent
from sandbox.grants import STATEMENTS, DatabaseGrant, Grants
from sandbox.services.database import DatabaseService
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError
from sandbox.services.rows import DatabaseLimits

EVERYTHING = frozenset(STATEMENTS)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A database of three rows."""
    path = tmp_path / "shop %?#.db"
    with sqlite3.connect(path) as made:
        made.executescript(
            """
            CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, picture BLOB);
            INSERT INTO item VALUES (1, 'pen', 1.5, NULL), (2, 'Füller', 20, x'00ff'),
                                    (3, 'ink', 4, NULL);
            CREATE VIEW cheap AS SELECT * FROM item WHERE price < 5;
            """
        )
    made.close()
    return path


class Asking:
    """A guest with one database."""

    def __init__(self, grant: DatabaseGrant, limits: DatabaseLimits | None = None) -> None:
        self.events: list[GrantEvent] = []
        self.service = DatabaseService(limits)
        self._grants = Grants(databases=(grant,))

    async def ask(self, sql: str, wall_s: float = 30, **request: Any) -> dict[str, Any]:
        """The result of one statement."""
        body = json.dumps({"database": "shop", "sql": sql, **request}).encode()
        answer = await self.service.answer(
            HostRequest(Service.QUERY, b"", body, self._grants, time.monotonic() + wall_s),
            self.events.append,
        )
        found: dict[str, Any] = json.loads(answer)
        return found

    async def rows(self, sql: str, **request: Any) -> list[list[Any]]:
        """The rows of one statement."""
        found: list[list[Any]] = (await self.ask(sql, **request))["rows"]
        return found

    async def refused(self, sql: str, **request: Any) -> ServiceError:
        """The refusal of one statement."""
        with pytest.raises(ServiceError) as error:
            await self.ask(sql, **request)
        return error.value


@pytest.fixture(params=["file", "sqlalchemy"])
async def make(request: pytest.FixtureRequest, shop: Path) -> AsyncIterator[Any]:
    """Guests with what is granted, both ways to the same database."""
    made: list[Asking] = []

    def guest(*statements: str, limits: DatabaseLimits | None = None) -> Asking:
        write = bool(set(statements) - {"SELECT", "PRAGMA"})
        source = str(shop)
        if request.param == "sqlalchemy":
            link = shop.with_name("plain.db")
            if not link.exists():
                link.symlink_to(shop)
            source = f"sqlite+pysqlite:///{link}"
        made.append(
            Asking(
                DatabaseGrant("shop", source, write=write, statements=frozenset(statements)), limits
            )
        )
        return made[-1]

    yield guest
    for one in made:
        await one.service.close()


class TestBothWays:
    """The same rules for a SQLite file and for a URL."""

    async def test_rows_come_back_with_their_columns(self, make: Any) -> None:
        """Texts, numbers, nulls and bytes."""
        guest = make("SELECT")
        found = await guest.ask("SELECT id, name, price, picture FROM item WHERE id > 1 -- two")
        assert found == {
            "columns": ["id", "name", "price", "picture"],
            "rows": [[2, "Füller", 20.0, {"base64": "AP8="}], [3, "ink", 4.0, None]],
            "changed": 0,
            "truncated": False,
        }
        assert [(e.kind, e.what, e.allowed) for e in guest.events] == [
            ("database", "shop SELECT", True)
        ]

    async def test_parameters_are_bound_never_pasted(self, make: Any) -> None:
        """By place and by name, of every type; a colon in quotes is no parameter."""
        guest = make("SELECT")
        evil = "x' OR '1'='1"
        assert await guest.rows("SELECT id FROM item WHERE name = ?", parameters=[evil]) == []
        assert await guest.rows(
            "SELECT ? , ':b' , ?, ?, ?, ?",
            parameters=[evil, None, True, 2**63 - 1, {"base64": "AP8="}],
        ) == [[evil, ":b", None, 1, 2**63 - 1, {"base64": "AP8="}]]
        assert await guest.rows(
            "SELECT id FROM item WHERE name = :name", parameters={"name": "ink"}
        ) == [[3]]

    @pytest.mark.parametrize(
        "parameters",
        [[2**63], [[1]], [{"base64": "?"}], {"a b": 1}, "x", [{"a": 1}], [1, 2], {"missing": 1}],
    )
    async def test_parameters_that_cannot_be_bound_are_a_bad_request(
        self, make: Any, parameters: object
    ) -> None:
        """Too large, nested, not base64, of odd names, or not as many as there are places."""
        error = await make("SELECT").refused("SELECT ?", parameters=parameters)
        assert error.code is Refusal.BAD_REQUEST

    @pytest.mark.parametrize(
        ("kind", "sql"),
        [
            ("INSERT", "INSERT INTO item (name) VALUES ('x')"),
            ("INSERT", "REPLACE INTO item (id, name) VALUES (1, 'x')"),
            ("UPDATE", "UPDATE item SET name = 'x'"),
            ("DELETE", "DELETE FROM item"),
            ("DELETE", "/* SELECT */ delete from item"),
            ("DELETE", "WITH old AS (SELECT 1) DELETE FROM item"),
            ("CREATE", "CREATE TABLE other (a)"),
            ("DROP", "DROP TABLE item"),
            ("ALTER", "ALTER TABLE item RENAME TO other"),
        ],
    )
    async def test_a_kind_works_when_granted_and_only_then(
        self, make: Any, shop: Path, kind: str, sql: str
    ) -> None:
        """Without it nothing changes, however the statement is written."""
        others = set(STATEMENTS) - {kind, "PRAGMA"}
        for statements in ({"SELECT"}, others):
            guest = make(*statements)
            error = await guest.refused(sql)
            assert error.code is Refusal.NOT_GRANTED
            assert f"{kind} is not granted" in error.message
            assert not guest.events[-1].allowed
        assert dump(shop) == ITEMS
        await make("SELECT", kind).ask(sql)
        assert dump(shop) != ITEMS

    async def test_changed_rows_are_counted(self, make: Any) -> None:
        """And kept."""
        guest = make("SELECT", "UPDATE")
        assert (await guest.ask("UPDATE item SET price = 0 WHERE id < 3"))["changed"] == 2
        assert await guest.rows("SELECT count(*) FROM item WHERE price = 0") == [[2]]

    async def test_what_no_grant_allows(self, make: Any, tmp_path: Path) -> None:
        """Other databases, other files, transactions, settings."""
        guest = make(*EVERYTHING)
        for sql in (
            f"ATTACH '{tmp_path}/other.db' AS other",
            "DETACH main",
            f"VACUUM INTO '{tmp_path}/copy.db'",
            "VACUUM",
            "BEGIN",
            "SAVEPOINT a",
            "PRAGMA writable_schema=ON",
            "PRAGMA journal_mode=DELETE",
        ):
            assert (await guest.refused(sql)).code is Refusal.NOT_GRANTED, sql
        assert sorted(path.suffix for path in tmp_path.iterdir() if not path.is_symlink()) == [
            ".db"
        ]

    @pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE item;", "", ";"])
    async def test_one_statement_a_call(self, make: Any, shop: Path, sql: str) -> None:
        """Not two and not none."""
        error = await make(*EVERYTHING).refused(sql)
        assert error.code is Refusal.BAD_REQUEST
        assert dump(shop) == ITEMS

    async def test_a_semicolon_at_the_end_is_no_second_statement(self, make: Any) -> None:
        """Comments may follow it."""
        assert await make("SELECT").rows("SELECT 1; -- done") == [[1]]

    async def test_rows_and_bytes_are_bounded(self, make: Any) -> None:
        """What is left out is said; a first row that is too large is an error."""
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        limits = DatabaseLimits(rows=50, result_bytes=400)
        guest = make("SELECT", limits=limits)
        found = await guest.ask(numbers, limit=3)
        assert (found["rows"], found["truncated"]) == ([[1], [2], [3]], True)
        assert len((await guest.ask(numbers))["rows"]) == 25
        assert (await guest.refused("SELECT 1", limit=51)).code is Refusal.BAD_REQUEST
        error = await guest.refused("SELECT hex(zeroblob(1000))")
        assert error.code is Refusal.TOO_LARGE

    async def test_an_unknown_database_is_not_granted(self, make: Any) -> None:
        """The refusal names those that are."""
        guest = make("SELECT")
        error = await guest.refused("SELECT 1", database="other")
        assert error.code is Refusal.NOT_GRANTED
        assert "granted: shop" in error.message

    async def test_an_error_of_the_database_is_told(self, make: Any) -> None:
        """With its message, which helps to write the next statement."""
        error = await make("SELECT").refused("SELECT nothing FROM item")
        assert error.code is Refusal.FAILED
        assert "nothing" in error.message


class TestSqlite:
    """What only SQLite's own authorizer and limits can do."""

    async def test_a_statement_without_end_is_stopped(self, shop: Path) -> None:
        """In time, and the next one runs."""
        guest = Asking(DatabaseGrant("shop", str(shop)), DatabaseLimits(timeout_ms=300))
        begun = time.monotonic()
        error = await guest.refused(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        )
        assert error.code is Refusal.TIMEOUT
        assert time.monotonic() - begun < 10
        await guest.service.close()
        assert await guest.rows("SELECT 1") == [[1]]
        await guest.service.close()

    async def test_the_guest_s_own_deadline_holds(self, shop: Path) -> None:
        """Also when the service would wait longer."""
        guest = Asking(DatabaseGrant("shop", str(shop)))
        error = await guest.refused(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
            wall_s=0.2,
        )
        assert error.code is Refusal.TIMEOUT
        await guest.service.close()

    async def test_a_cancelled_statement_ends(self, shop: Path) -> None:
        """Its thread is free again; closing waits for it."""
        guest = Asking(DatabaseGrant("shop", str(shop)), DatabaseLimits(timeout_ms=600_000))
        asking = asyncio.create_task(
            guest.ask(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT max(i) FROM n",
                wall_s=600,
            )
        )
        async with asyncio.timeout(30):
            while not asking.done() and guest.service._threads is None:
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await guest.service.close()

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT load_extension('x')",
            "CREATE TEMP TABLE t (a)",
            "CREATE TABLE temp.t (a)",
            "CREATE VIRTUAL TABLE t USING dbstat",
            "UPDATE sqlite_master SET sql = ''",
            "ANALYZE",
            "REINDEX nothing",
            "PRAGMA user_version = 7",
            "PRAGMA database_list",
            "SELECT * FROM pragma_database_list",
        ],
    )
    async def test_a_grant_of_all_kinds_has_its_end(self, shop: Path, sql: str) -> None:
        """Code, other schemas, the schema's own table, settings and paths stay out of reach."""
        guest = Asking(DatabaseGrant("shop", str(shop), write=True, statements=EVERYTHING))
        error = await guest.refused(sql)
        assert error.code in (Refusal.NOT_GRANTED, Refusal.FAILED), error
        assert dump(shop) == ITEMS
        await guest.service.close()

    async def test_reading_the_schema(self, shop: Path) -> None:
        """PRAGMA is a grant of its own; what it says of the schema may be selected without."""
        guest = Asking(DatabaseGrant("shop", str(shop), statements=frozenset({"PRAGMA", "SELECT"})))
        names = [row[1] for row in await guest.rows("PRAGMA table_info(item)")]
        assert names == ["id", "name", "price", "picture"]
        assert await guest.rows("SELECT name FROM pragma_table_info('cheap')")
        without = Asking(DatabaseGrant("shop", str(shop)))
        assert (await without.refused("PRAGMA table_info(item)")).code is Refusal.NOT_GRANTED
        assert len(await without.rows("SELECT name FROM pragma_table_info('item')")) == 4
        for name in ("pragma_user_version", "pragma_database_list", "pragma_integrity_check"):
            assert await without.refused(f"SELECT * FROM {name}")
        assert await without.rows("SELECT name FROM sqlite_master WHERE type = 'view'") == [
            ["cheap"]
        ]
        for one in (guest, without):
            await one.service.close()

    async def test_changing_without_reading(self, shop: Path) -> None:
        """INSERT alone neither copies from other tables nor returns what it wrote over."""
        guest = Asking(
            DatabaseGrant("shop", str(shop), write=True, statements=frozenset({"INSERT"}))
        )
        await guest.ask("INSERT INTO item (name) VALUES (?)", parameters=["cap"])
        for sql in (
            "INSERT INTO item (name) SELECT name FROM item",
            "INSERT INTO item (name) VALUES ('x') RETURNING *",
            "INSERT INTO item (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'",
            "SELECT * FROM item",
        ):
            assert (await guest.refused(sql)).code is Refusal.NOT_GRANTED, sql
        assert len(dump(shop)) == 4
        await guest.service.close()

    async def test_a_trigger_needs_all_that_it_could_do(self, shop: Path) -> None:
        """And what it then does is checked in the guest that fires it."""
        sql = "CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM item; END"
        some = Asking(
            DatabaseGrant("shop", str(shop), write=True, statements=frozenset({"CREATE", "INSERT"}))
        )
        assert (await some.refused(sql)).code is Refusal.NOT_GRANTED
        every = Asking(DatabaseGrant("shop", str(shop), write=True, statements=EVERYTHING))
        await every.ask(sql)
        insert = "INSERT INTO item (name) VALUES ('x')"
        assert (await some.refused(insert)).code is Refusal.NOT_GRANTED
        assert dump(shop) == ITEMS
        for one in (some, every):
            await one.service.close()

    async def test_read_only_is_read_only_for_sqlite_too(self, shop: Path, tmp_path: Path) -> None:
        """The file is opened that way, and none is made."""
        shop.chmod(0o400)
        guest = Asking(DatabaseGrant("shop", str(shop)))
        assert await guest.rows("SELECT count(*) FROM item") == [[3]]
        missing = Asking(DatabaseGrant("shop", str(tmp_path / "missing.db")))
        error = await missing.refused("SELECT 1")
        assert error.code is Refusal.FAILED
        assert not (tmp_path / "missing.db").exists()
        for one in (guest, missing):
            await one.service.close()

    async def test_a_database_is_made_when_create_is_granted(self, tmp_path: Path) -> None:
        """In a folder that is there."""
        path = tmp_path / "new.db"
        grant = DatabaseGrant("shop", str(path), write=True, statements=EVERYTHING)
        guest = Asking(grant)
        await guest.ask("CREATE TABLE a (b TEXT)")
        await guest.ask("CREATE INDEX i ON a (b)")
        await guest.ask("ALTER TABLE a ADD COLUMN c")
        await guest.ask("INSERT INTO a VALUES ('x', 1)")
        await guest.ask("DROP INDEX i")
        assert await guest.rows("SELECT * FROM a") == [["x", 1]]
        await guest.service.close()

    async def test_a_locked_database_is_said_so(self, shop: Path) -> None:
        """After a wait that ends with the call's time."""
        other = sqlite3.connect(shop, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        guest = Asking(
            DatabaseGrant("shop", str(shop), write=True, statements=frozenset({"DELETE"})),
            DatabaseLimits(timeout_ms=1_000),
        )
        error = await guest.refused("DELETE FROM item")
        assert error.code is Refusal.TIMEOUT
        other.close()
        await guest.service.close()

    async def test_a_large_value_is_not_made(self, shop: Path) -> None:
        """SQLite refuses it before memory is taken; and many columns, which would multiply it."""
        guest = Asking(DatabaseGrant("shop", str(shop)))
        for sql, parameters in (
            ("SELECT length(zeroblob(500000000))", []),
            ("SELECT length(randomblob(1048577))", []),
            ("SELECT length(?)", ["x" * 1_048_577]),
        ):
            error = await guest.refused(sql, parameters=parameters)
            assert error.code is Refusal.TOO_LARGE, error
        error = await guest.refused("SELECT " + ", ".join(["randomblob(1000000)"] * 201))
        assert "columns" in error.message
        await guest.service.close()

    async def test_a_table_of_many_columns_can_be_asked_for_some(self, tmp_path: Path) -> None:
        """The bound is for results."""
        path = tmp_path / "wide.db"
        with sqlite3.connect(path) as made:
            made.execute(f"CREATE TABLE wide ({', '.join(f'c{n}' for n in range(1_000))})")
            made.execute("INSERT INTO wide (c999) VALUES (7)")
        made.close()
        guest = Asking(DatabaseGrant("shop", str(path)))
        assert await guest.rows("SELECT c999 FROM wide") == [[7]]
        await guest.service.close()

    async def test_a_file_that_is_no_database_is_an_error(self, tmp_path: Path) -> None:
        """Not a crash; and a folder or a device is not opened."""
        (tmp_path / "text.db").write_text("no database, but long enough to look like a page " * 99)
        for path in (tmp_path / "text.db", tmp_path, Path("/dev/zero")):
            guest = Asking(DatabaseGrant("shop", str(path)))
            assert (await guest.refused("SELECT * FROM sqlite_master")).code is Refusal.FAILED
            await guest.service.close()

    async def test_more_than_may_wait_are_turned_away(self, shop: Path) -> None:
        """At once."""
        guest = Asking(DatabaseGrant("shop", str(shop)), DatabaseLimits(concurrent=1, waiting=0))
        answers = await asyncio.gather(
            *(guest.ask("SELECT 1") for _ in range(3)), return_exceptions=True
        )
        codes = [one.code for one in answers if isinstance(one, ServiceError)]
        assert codes == [Refusal.UNAVAILABLE, Refusal.UNAVAILABLE]
        await guest.service.close()


class TestSqlalchemy:
    """Where only the text of the statement can be read."""

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT * INTO copied FROM item",
            "SELECT id FROM item FOR UPDATE",
            "WITH gone AS (DELETE FROM item RETURNING *) SELECT * FROM gone",
            "COPY item TO PROGRAM 'sh'",
            "CALL something()",
            "SET ROLE admin",
            "EXPLAIN ANALYZE DELETE FROM item",
            "PRAGMA table_info(item)",
            "TRUNCATE item",
        ],
    )
    async def test_what_only_looks_like_reading_is_refused(self, shop: Path, sql: str) -> None:
        """Before the database sees it."""
        guest = Asking(DatabaseGrant("shop", "sqlite+pysqlite:///unused.db"))
        assert (await guest.refused(sql)).code is Refusal.NOT_GRANTED
        await guest.service.close()

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT 1 /*! ; DROP TABLE item */",
            "SELECT 1 /* /* */ */",
            "SELECT 1 /* never closed",
            "SELECT 'never closed",
            r"SELECT 'a\' ; DROP TABLE item; --'",
            "SELECT $$ ; DROP TABLE item $$",
            "SELECT 1 # a comment in one, an operator in another",
        ],
    )
    async def test_what_dialects_read_differently_is_refused(self, sql: str) -> None:
        """Comments with instructions, backslashes in quotes, dollar quotes."""
        guest = Asking(DatabaseGrant("shop", "sqlite+pysqlite:///unused.db"))
        assert (await guest.refused(sql)).code is Refusal.BAD_REQUEST
        await guest.service.close()

    async def test_no_error_holds_the_password(self) -> None:
        """Unknown drivers, unreachable servers, broken URLs, and the grant itself."""
        for source in (
            "nothing+such://user:hunter2@127.0.0.1/x",
            "postgresql://user:hunter2@127.0.0.1:1/x?sslpassword=hunter2",
            "sqlite+pysqlite://user:hunter2@host/x",
        ):
            guest = Asking(DatabaseGrant("shop", source))
            error = await guest.refused("SELECT 1")
            assert "hunter2" not in str(error), error
            assert error.code in (Refusal.FAILED, Refusal.UNAVAILABLE)
            assert "hunter2" not in repr(guest._grants)
            await guest.service.close()

    async def test_reading_changes_nothing_even_if_the_text_is_misread(self, shop: Path) -> None:
        """The connection itself is read-only."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        from sandbox.services.rows import Query
        from sandbox.services.sql_statement import Statement
        from sandbox.services.sqlalchemy_source import SqlalchemyCall

        link = shop.with_name("plain.db")
        link.symlink_to(shop)
        grant = DatabaseGrant("shop", f"sqlite+pysqlite:///{link}")
        call = SqlalchemyCall(grant, Query("shop", "", [], 1, 1, 1), time.monotonic() + 30)
        engine = create_engine(grant.source, poolclass=NullPool)
        with engine.connect() as connection:
            misread = Statement("SELECT", frozenset({"SELECT"}), "DELETE FROM item", 0)
            with pytest.raises(Exception, match="readonly"):
                call._execute(connection, misread)
            assert connection.execute(text("SELECT count(*) FROM item")).scalar() == 3
        engine.dispose()


class TestGrant:
    """Which grants can be made."""

    @pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 65, "ä"])
    def test_names_are_plain(self, name: str) -> None:
        """They are used in messages and by guests."""
        with pytest.raises(InvalidSetting, match="name"):
            DatabaseGrant(name, "x.db")

    @pytest.mark.parametrize("source", ["", ":memory:", "sqlite:///:memory:", "file:x?mode=rwc"])
    def test_sources_are_files_or_urls(self, source: str) -> None:
        """The refusal does not hold what was given."""
        with pytest.raises(InvalidSetting, match="source") as error:
            DatabaseGrant("a", source)
        assert not source or source not in str(error.value)

    def test_kinds_are_known_and_need_write(self) -> None:
        """An empty set is none."""
        for statements in (set(), {"select"}, {"VACUUM"}, {"DELETE"}):
            with pytest.raises(InvalidSetting, match="statements"):
                DatabaseGrant("a", "x.db", statements=frozenset(statements))
        DatabaseGrant("a", "x.db", write=True, statements=frozenset({"DELETE"}))

    def test_a_url_of_a_sqlite_file_is_that_file(self, tmp_path: Path) -> None:
        """So that SQLite's own limits hold for it."""
        grant = DatabaseGrant("a", f"sqlite:///{tmp_path}/x.db")
        assert (grant.source, grant.url) == (f"{tmp_path}/x.db", None)
        assert DatabaseGrant("a", "postgresql://h/x").url == "postgresql://h/x"

    def test_a_name_is_granted_once(self) -> None:
        """Two sources of one name would be a guess."""
        one = DatabaseGrant("a", "x.db")
        with pytest.raises(InvalidSetting, match="databases"):
            Grants(databases=(one, one))


ITEMS = [(1, "pen", 1.5, None), (2, "Füller", 20.0, b"\x00\xff"), (3, "ink", 4.0, None)]


def dump(path: Path) -> list[tuple[Any, ...]]:
    """What the table holds; empty when it is gone."""
    read = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    try:
        if read.execute("SELECT 1 FROM sqlite_master WHERE name = 'other'").fetchone():
            return []
        return read.execute("SELECT * FROM item ORDER BY id").fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        read.close()
