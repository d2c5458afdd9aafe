"""A real SMTP server on this machine, which keeps what it is sent."""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.policy import default
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from demo.processes import LOCALHOST, free_port


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail that arrived."""

    subject: str
    recipients: tuple[str, ...]


class Mailbox:
    """Listens while the ``with`` block lasts."""

    def __init__(self) -> None:
        #: Written by the server's thread; a list's append is atomic.
        self.received: list[Mail] = []
        self.port = free_port()
        self._controller = Controller(self, hostname=LOCALHOST, port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._controller.stop()

    @property
    def environ(self) -> dict[str, str]:
        """What tells another process of this project to send its e-mails here."""
        return {"EMAIL_HOST": LOCALHOST, "EMAIL_PORT": str(self.port)}

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for every e-mail."""
        message = email.message_from_bytes(envelope.original_content or b"", policy=default)
        self.received.append(Mail(str(message["Subject"]), tuple(envelope.rcpt_tos)))
        return "250 Kept"
