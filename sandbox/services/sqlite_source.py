"""SQLite for guests: a connection for one statement, limited by SQLite's own authorizer.

SQLite asks the authorizer for each thing a statement would do while it is compiled, also inside
triggers and views, so nothing depends on how the text is written.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sandbox.grants import DatabaseGrant
from sandbox.services.json_body import bad_request
from sandbox.services.request import Refusal, ServiceError
from sandbox.services.rows import COLUMNS, Query, Rows, collect
from sandbox.services.sql_statement import first_word

__all__ = ["SqliteCall"]

PROGRESS_STEPS: Final = 4_000
"""Instructions of SQLite's machine between two looks at the clock; well under a millisecond."""

BUSY_S: Final = 2.0

_A = sqlite3
_ROWS: Final = {_A.SQLITE_INSERT: "INSERT", _A.SQLITE_UPDATE: "UPDATE", _A.SQLITE_DELETE: "DELETE"}
_CREATE: Final = frozenset({_A.SQLITE_CREATE_INDEX, _A.SQLITE_CREATE_TABLE, _A.SQLITE_CREATE_VIEW})
_DROP: Final = frozenset(
    {
        _A.SQLITE_DROP_INDEX,
        _A.SQLITE_DROP_TABLE,
        _A.SQLITE_DROP_TRIGGER,
        _A.SQLITE_DROP_VIEW,
        _A.SQLITE_DROP_VTABLE,
    }
)
_SCHEMA: Final = frozenset({"sqlite_master", "sqlite_schema"})
_OWN: Final = _SCHEMA | {"sqlite_sequence", "sqlite_stat1", "sqlite_stat4"}
_MODULES: Final = frozenset({"fts5", "rtree"})
_FUNCTIONS: Final = frozenset(
    {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit", "fsdir", "zipfile"}
)
_PRAGMAS: Final = frozenset(
    {
        "application_id",
        "collation_list",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "page_count",
        "page_size",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
_SCHEMA_ONLY: Final = frozenset(
    {
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
"""Inside a SELECT these say no more than sqlite_schema, which SELECT may read."""
_OF_A_TABLE: Final = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_xinfo",
    }
)
_LIMITS: Final = {
    _A.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    _A.SQLITE_LIMIT_FUNCTION_ARG: 64,
    _A.SQLITE_LIMIT_EXPR_DEPTH: 200,
    _A.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    _A.SQLITE_LIMIT_ATTACHED: 0,
    _A.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 5_000,
    _A.SQLITE_LIMIT_TRIGGER_DEPTH: 50,
    _A.SQLITE_LIMIT_WORKER_THREADS: 0,
}


class SqliteCall:
    """One statement on one SQLite file. ``run`` on a thread of its own, ``stop`` from any."""

    def __init__(self, grant: DatabaseGrant, query: Query, deadline: float) -> None:
        self._grant = grant
        self._query = query
        self._deadline = deadline
        self._stopped = threading.Event()
        self._refused: str | None = None

    def stop(self) -> None:
        """End it soon; ``run`` then raises."""
        self._stopped.set()

    def run(self) -> Rows:
        """Open, execute, read the rows, close. Raises ``ServiceError``."""
        first = first_word(self._query.sql)
        if not first:
            raise bad_request("sql holds no statement")
        if first == "VACUUM":
            raise self._not_granted("VACUUM is not allowed")
        connection = self._open()
        try:
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA cell_size_check=ON")
            # Reads the schema, whose tables may have more columns than a result.
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            for limit, value in _LIMITS.items():
                connection.setlimit(limit, value)
            connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, COLUMNS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._query.value_bytes)
            connection.set_progress_handler(self._over, PROGRESS_STEPS)
            return self._execute(connection)
        except sqlite3.DatabaseError as error:
            raise self._told(error) from None
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        path = Path(self._grant.source)
        mode = "ro"
        if self._grant.write:
            mode = "rwc" if "CREATE" in self._grant.statements else "rw"
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            regular = mode == "rwc" and path.parent.is_dir()
        if not regular:
            raise self._failed("is not there or not a file; check its path in the grant")
        left = max(0.0, min(BUSY_S, self._deadline - time.monotonic()))
        try:
            return sqlite3.connect(
                f"file:{quote(str(path))}?mode={mode}",
                uri=True,
                timeout=left,
                isolation_level=None,
                cached_statements=0,
            )
        except sqlite3.Error:
            raise self._failed("cannot be opened; check the rights of the file") from None

    def _execute(self, connection: sqlite3.Connection) -> Rows:
        connection.execute("BEGIN")
        connection.set_authorizer(self._authorizer())
        try:
            cursor = connection.execute(self._query.sql, self._query.parameters)
            columns = [item[0] for item in cursor.description or ()]
            if columns and not self._grant.statements & {"SELECT", "PRAGMA"}:
                self._refused = "RETURNING needs SELECT"
                raise sqlite3.DatabaseError
            rows = collect(columns, cursor, self._query)
            rows.changed = max(0, cursor.rowcount)
        except sqlite3.DataError as error:
            # What Python's own check of a parameter's length says.
            raise ServiceError(Refusal.TOO_LARGE, f"{error}"[:400]) from None
        except (sqlite3.Warning, sqlite3.ProgrammingError, OverflowError, ValueError) as error:
            raise ServiceError(Refusal.BAD_REQUEST, f"{error}"[:400]) from None
        finally:
            connection.set_authorizer(None)
        connection.execute("COMMIT")
        return rows

    def _over(self) -> int:
        return int(self._stopped.is_set() or time.monotonic() >= self._deadline)

    def _told(self, error: sqlite3.DatabaseError) -> ServiceError:
        if self._refused is not None:
            return self._not_granted(self._refused)
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT:
            return ServiceError(
                Refusal.TIMEOUT, f"the statement on {self._grant.name} did not end in time"
            )
        if code == sqlite3.SQLITE_TOOBIG:
            return ServiceError(
                Refusal.TOO_LARGE, f"a value or row is larger than {self._query.value_bytes} bytes"
            )
        if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ServiceError(
                Refusal.TIMEOUT, f"database {self._grant.name} is locked by another; try again"
            )
        return self._failed(f"answered: {error}"[:400])

    def _not_granted(self, reason: str) -> ServiceError:
        return ServiceError(
            Refusal.NOT_GRANTED,
            f"database {self._grant.name}: {reason}; granted are "
            f"{', '.join(sorted(self._grant.statements))}",
        )

    def _failed(self, message: str) -> ServiceError:
        return ServiceError(Refusal.FAILED, f"database {self._grant.name} {message}")

    def _authorizer(self) -> Callable[..., int]:
        granted = self._grant.statements
        selected = "SELECT" in granted and first_word(self._query.sql) != "PRAGMA"
        schema_change = bool(granted & {"CREATE", "DROP", "ALTER"})
        reading = bool(granted & {"SELECT", "UPDATE", "DELETE"}) or schema_change
        altering = False
        dropped: set[str | None] = set()

        def why(action: int, one: str | None, two: str | None, database: str | None) -> str | None:
            """What is not granted; None when all is."""
            nonlocal altering
            if action in _ROWS:
                kind = _ROWS[action]
                if database == "main" and (one in _SCHEMA or (one in _OWN and schema_change)):
                    # How a schema change is stored. SQLite itself refuses statements that name
                    # the schema's table, and asks for CREATE, DROP or ALTER besides.
                    return None
                if (altering and one == "sqlite_temp_master") or (
                    action == _A.SQLITE_DELETE and one in dropped and database == "main"
                ):
                    return None
                return _need(kind, granted, database)
            if action in _CREATE:
                return _need("CREATE", granted, database)
            if action in _DROP:
                dropped.add(one)
                return _need("DROP", granted, database)
            if action == _A.SQLITE_ALTER_TABLE:
                altering = True
                return None if "ALTER" in granted and one == "main" else "ALTER is not granted"
            if action in (_A.SQLITE_SELECT, _A.SQLITE_RECURSIVE):
                return None if "SELECT" in granted or altering else "SELECT is not granted"
            if action == _A.SQLITE_READ:
                return None if reading else "SELECT is not granted"
            if action == _A.SQLITE_FUNCTION:
                return f"function {two} is not allowed" if two in _FUNCTIONS else None
            if action == _A.SQLITE_REINDEX:
                return None if schema_change else "REINDEX is not granted"
            if action == _A.SQLITE_PRAGMA and selected and (one or "").lower() in _SCHEMA_ONLY:
                return None
            return _rarer(action, one, two, granted, database)

        def authorize(
            action: int,
            one: str | None,
            two: str | None,
            database: str | None,
            _inner: str | None,
        ) -> int:
            reason = why(action, one, two, database)
            if reason is None:
                return sqlite3.SQLITE_OK
            self._refused = self._refused or reason
            return sqlite3.SQLITE_DENY

        return authorize


def _need(kind: str, granted: frozenset[str], database: str | None) -> str | None:
    if database not in (None, "main"):
        return f"{kind} on the database {database} is not allowed"
    return None if kind in granted else f"{kind} is not granted"


def _rarer(
    action: int, one: str | None, two: str | None, granted: frozenset[str], database: str | None
) -> str | None:
    if action == _A.SQLITE_PRAGMA:
        name = (one or "").lower()
        if "PRAGMA" not in granted:
            return "PRAGMA is not granted"
        if name not in _PRAGMAS or (two is not None and name not in _OF_A_TABLE):
            return f"PRAGMA {name} is not one of those that only read the schema"
        return None
    if action == _A.SQLITE_CREATE_TRIGGER:
        # Its statements run later, in whatever connection fires it.
        if {"INSERT", "UPDATE", "DELETE"} <= granted:
            return _need("CREATE", granted, database)
        return "a trigger needs CREATE, INSERT, UPDATE and DELETE"
    if action == _A.SQLITE_CREATE_VTABLE:
        if (two or "").lower() in _MODULES:
            return _need("CREATE", granted, database)
        return f"tables of the module {two} are not allowed"
    names: dict[int, Any] = {
        _A.SQLITE_ATTACH: "ATTACH is not allowed",
        _A.SQLITE_DETACH: "DETACH is not allowed",
        _A.SQLITE_TRANSACTION: "transactions are not allowed; each statement is one",
        _A.SQLITE_SAVEPOINT: "savepoints are not allowed; each statement is a transaction",
        _A.SQLITE_ANALYZE: "ANALYZE is not allowed",
    }
    return str(names.get(action, "temporary objects and this kind of statement are not allowed"))
