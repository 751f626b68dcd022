"""The one tree of errors. Faces map it once: HTTP (RFC 9457), exit codes, MLflow error codes, MCP errors.

Every error says what is wrong (`message`), where (`path`), and what to do (`hint`). `code` is stable: clients may
depend on it.
"""

from typing import ClassVar


class MlwrightError(Exception):
    """Base of all errors a user can meet.

    Attributes:
        code: stable snake_case name of the kind of error.
        status: HTTP status code.
        exit_code: process exit status of the CLI (see docs: reference/errors).
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint

    def document(self) -> dict[str, object]:
        """The error as an RFC 9457 problem document."""
        found: dict[str, object] = {
            "type": f"https://mlwright.dev/errors/{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.message,
        }
        if self.path:
            found["path"] = self.path
        if self.hint:
            found["hint"] = self.hint
        return found


class Invalid(MlwrightError):
    """What the caller sent is wrong: a value, a type, a query."""

    code = "invalid"
    title = "Invalid input"
    status = 400
    exit_code = 2


class TooLarge(Invalid):
    """The request is larger than this server takes."""

    code = "too_large"
    title = "Request too large"
    status = 413


class NotFound(MlwrightError):
    """The thing named does not exist, or the caller may not know that it does."""

    code = "not_found"
    title = "Not found"
    status = 404


class AlreadyExists(MlwrightError):
    """The name is taken."""

    code = "already_exists"
    title = "Already exists"
    status = 409
    exit_code = 5


class Conflict(MlwrightError):
    """The thing changed since the caller read it, or its state forbids the change."""

    code = "conflict"
    title = "Conflict"
    status = 409
    exit_code = 5


class Immutable(Conflict):
    """What was registered never changes."""

    code = "immutable"
    title = "Immutable"


class GateClosed(Conflict):
    """A gate has not been passed, so that nothing may lead to the model version."""

    code = "gate_closed"
    title = "Gate closed"


class Unauthenticated(MlwrightError):
    """The caller did not say who it is, or not believably."""

    code = "unauthenticated"
    title = "Authentication required"
    status = 401
    exit_code = 4


class Denied(MlwrightError):
    """The caller is known and may not do this."""

    code = "denied"
    title = "Permission denied"
    status = 403
    exit_code = 4


class Unavailable(MlwrightError):
    """Something this needs is not there right now; trying again later may work.

    Attributes:
        retry_after_s: how long to wait, in seconds.
    """

    code = "unavailable"
    title = "Temporarily unavailable"
    status = 503
    retry_after_s: int = 1


class TooManyAttempts(Unavailable):
    """Too many wrong passwords: whether this one is right is not even looked at."""

    code = "too_many_attempts"
    title = "Too many attempts"
    status = 429
    exit_code = 4


class StorageFull(MlwrightError):
    """The disk is full. Nothing of the request was kept."""

    code = "storage_full"
    title = "Storage full"
    status = 507


class Untrusted(MlwrightError):
    """Bytes are not what somebody vouched for, or nobody did: they are not used."""

    code = "untrusted"
    title = "Not trusted"
    status = 422


class NoEnvironment(MlwrightError):
    """What a model needs to run cannot be installed."""

    code = "no_environment"
    title = "No environment"
    status = 422


class Unsupported(MlwrightError):
    """A part of a foreign protocol that mlwright knows of and does not offer."""

    code = "unsupported"
    title = "Not implemented"
    status = 501


class Internal(MlwrightError):
    """A defect of mlwright itself. The details are in the log, never in the answer."""
