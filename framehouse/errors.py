"""Every error that framehouse raises on purpose, in one tree.

FramehouseError               what went wrong, a stable `code`, and a `hint`: what would be right
├── ConfigError               a setting cannot be used
├── EmbeddedError             the private database server
│   ├── NoServerError         no way to get a TimescaleDB on this machine
│   ├── InstallError          fetching or unpacking the server failed
│   └── StartError            the server is there but does not start
├── WarehouseError            the database
│   ├── UnreachableError      no connection
│   ├── LockedError           somebody else is at work there for longer than one may wait
│   ├── NotMigratedError      the schema is missing or older than this program
│   ├── DefinitionError       a rollup's stored definition differs from the code's
│   ├── BuildError            dbt or a migration failed
│   └── BackupError           a backup cannot be written, read or restored
├── ContractError             what was sent does not keep the contract; carries `problems`
│   ├── NotJsonError          a body is no JSON
│   ├── DuplicateKeyError     an object names a key twice
│   ├── TakenError            a name that is given once belongs to another row
│   └── RefusedError          the database refuses a value that the contract lets through
├── BudgetExceededError       a submission would cross the level at which a budget blocks; carries `problems`
├── NotFoundError             the thing asked for does not exist
├── QueryError                a question that metrics cannot express
│   └── NoAnswerError         a sound question whose data is gone (raw dropped)
├── BusyError                 more waits to be written than may wait
└── CollectError              measuring a command
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One bad field: where it is, what is wrong, what would be right."""

    path: str
    message: str
    expected: str | None = None


class FramehouseError(Exception):
    """Base of the tree.

    `code` is stable and meant for programs, the message for people, and `hint` is the command or the value
    that mends it.
    """

    code: ClassVar[str] = "framehouse_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(FramehouseError):
    """A setting cannot be used."""

    code = "bad_setting"


class EmbeddedError(FramehouseError):
    """The private database server."""

    code = "embedded_error"


class NoServerError(EmbeddedError):
    """There is no way to get a TimescaleDB on this machine."""

    code = "no_server"


class InstallError(EmbeddedError):
    """Fetching or unpacking the server failed."""

    code = "install_failed"


class StartError(EmbeddedError):
    """The server is installed but does not start."""

    code = "start_failed"


class WarehouseError(FramehouseError):
    """The database refused or cannot be used."""

    code = "warehouse_error"


class UnreachableError(WarehouseError):
    """No connection to the database."""

    code = "unreachable"


class LockedError(WarehouseError):
    """Somebody else is at work there for longer than one may wait."""

    code = "locked"


class NotMigratedError(WarehouseError):
    """The schema is missing or older than this program."""

    code = "not_migrated"


class DefinitionError(WarehouseError):
    """A rollup's stored definition differs from the one in the code."""

    code = "definition_changed"


class BuildError(WarehouseError):
    """dbt or a migration failed."""

    code = "build_failed"


class BackupError(WarehouseError):
    """A backup cannot be written, read or restored."""

    code = "backup_failed"


class ContractError(FramehouseError):
    """What was sent does not keep the contract."""

    code = "invalid"

    def __init__(
        self, message: str, problems: list[Problem] | None = None, *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems or []


class NotJsonError(ContractError):
    """The body is no JSON."""

    code = "not_json"


class DuplicateKeyError(ContractError):
    """An object names a key twice."""

    code = "duplicate_key"


class TakenError(ContractError):
    """The name belongs to another row already."""

    code = "name_taken"


class SubmittedError(ContractError):
    """The estimate is submitted for another project."""

    code = "already_submitted"


class RefusedError(ContractError):
    """The database refuses a value that the contract lets through."""

    code = "refused_by_database"


class BudgetExceededError(FramehouseError):
    """What was submitted would cross the level at which a budget blocks; nothing of it was committed."""

    code = "budget_exceeded"

    def __init__(self, message: str, problems: list[Problem], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class NotFoundError(FramehouseError):
    """The thing asked for does not exist."""

    code = "not_found"


class QueryError(FramehouseError):
    """A question that the metric path cannot express."""

    code = "bad_query"


class NoAnswerError(QueryError):
    """A sound question whose data is gone."""

    code = "raw_dropped"


class BusyError(FramehouseError):
    """More waits to be written than may wait, or the service is stopping; nothing of the request was stored."""

    code = "busy"


class CollectError(FramehouseError):
    """A command could not be measured."""

    code = "collect_error"
