"""Databases that SQLAlchemy reaches, for guests.

The statement's kinds are read from its text, so what a function of the database does is not seen:
the account of the source must not have rights beyond the grant. Without ``write`` the transaction
is read-only where the database has such a thing, and rolled back in any case.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sandbox.grants import DatabaseGrant
from sandbox.services.json_body import bad_request
from sandbox.services.request import Refusal, ServiceError
from sandbox.services.rows import Query, Rows, collect
from sandbox.services.sql_statement import Statement, read_statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SqlalchemyCall"]

_READ_ONLY: Final = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only=ON",
}
_TIME: Final = {
    "postgresql": "SET LOCAL statement_timeout = {ms}",
    "mysql": "SET SESSION max_execution_time = {ms}",
    "mariadb": "SET SESSION max_statement_time = {s}",
}
_CONNECT: Final = {
    "mariadbconnector": "connect_timeout",
    "mysqldb": "connect_timeout",
    "oracledb": "tcp_connect_timeout",
    "pg8000": "timeout",
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymysql": "connect_timeout",
    "pysqlite": "timeout",
}
"""What each driver calls the seconds it may take to connect."""


class SqlalchemyCall:
    """One statement on one database. ``run`` on a thread of its own, ``stop`` from any."""

    def __init__(self, grant: DatabaseGrant, query: Query, deadline: float) -> None:
        self._grant = grant
        self._query = query
        self._deadline = deadline
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Start nothing more; a driver that waits ends by the limits of its database."""
        self._stopped.set()

    def run(self) -> Rows:
        """Connect, execute, read the rows, close. Raises ``ServiceError``."""
        statement = self._checked()
        try:
            from sqlalchemy import create_engine, make_url
            from sqlalchemy.exc import SQLAlchemyError
            from sqlalchemy.pool import NullPool
        except ImportError:
            raise ServiceError(
                Refusal.UNAVAILABLE,
                f"database {self._grant.name} needs SQLAlchemy: pip install 'caxton[databases]'",
            ) from None
        self._check_time()
        try:
            url = make_url(self._grant.source)
            name = _CONNECT.get(url.get_dialect().driver)
            options = {name: max(1, int(self._deadline - time.monotonic()))} if name else {}
            engine = create_engine(url, poolclass=NullPool, connect_args=options)
            connection = engine.connect()
        except (SQLAlchemyError, ImportError, OSError, ValueError, TypeError) as error:
            # Such a message may quote the URL, and the URL holds a password.
            raise self._failed(f"cannot be reached ({type(error).__name__})") from None
        try:
            with connection:
                return self._execute(connection, statement)
        except SQLAlchemyError as error:
            told = str(getattr(error, "orig", None) or type(error).__name__)
            raise self._failed(f"answered: {self._without_secrets(told)}"[:400]) from None
        finally:
            engine.dispose()

    def _checked(self) -> Statement:
        statement = read_statement(self._query.sql)
        missing = sorted(statement.kinds - self._grant.statements)
        if missing or "PRAGMA" in statement.kinds:
            raise ServiceError(
                Refusal.NOT_GRANTED,
                f"database {self._grant.name}: {', '.join(missing) or 'PRAGMA'} is not granted; "
                f"granted are {', '.join(sorted(self._grant.statements))}",
            )
        return statement

    def _execute(self, connection: Connection, statement: Statement) -> Rows:
        from sqlalchemy import text

        dialect = connection.dialect.name
        ms = max(1, int((self._deadline - time.monotonic()) * 1000))
        setup = [_TIME.get(dialect, "").format(ms=ms, s=ms / 1000)]
        if not self._grant.write:
            setup.insert(0, _READ_ONLY.get(dialect, ""))
        for line in filter(None, setup):
            connection.exec_driver_sql(line)
        self._check_time()
        if statement.kinds == {"SELECT"}:
            # Else some drivers fetch all rows before we see the first.
            connection = connection.execution_options(stream_results=True, max_row_buffer=100)
        result = connection.execute(text(statement.text), self._values(statement))
        columns = list(result.keys()) if result.returns_rows else []
        rows = collect(columns, result if columns else (), self._query)
        if not result.returns_rows:
            rows.changed = max(0, result.rowcount)
        self._check_time()
        if self._grant.write:
            connection.commit()
        else:
            connection.rollback()
        return rows

    def _values(self, statement: Statement) -> dict[str, Any]:
        given = self._query.parameters
        if isinstance(given, dict):
            if statement.positional:
                raise bad_request("the statement has ? but the parameters have names")
            return given
        if len(given) != statement.positional:
            raise bad_request(
                f"the statement has {statement.positional} ? and there are {len(given)} parameters"
            )
        return {f"p{index}": value for index, value in enumerate(given)}

    def _check_time(self) -> None:
        if self._stopped.is_set() or time.monotonic() >= self._deadline:
            raise ServiceError(
                Refusal.TIMEOUT, f"the statement on {self._grant.name} did not end in time"
            )

    def _without_secrets(self, message: str) -> str:
        from sqlalchemy import make_url

        url = make_url(self._grant.source)
        for secret in (self._grant.source, url.password, *url.query.values()):
            for part in secret if isinstance(secret, tuple) else (secret,):
                if part:
                    message = message.replace(str(part), "***")
        return message

    def _failed(self, message: str) -> ServiceError:
        return ServiceError(Refusal.FAILED, f"database {self._grant.name} {message}")
