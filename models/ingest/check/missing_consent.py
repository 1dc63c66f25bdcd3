"""Explain why no event of a file would be accepted without consent, and what to do."""

from collections.abc import Iterable
from typing import Final

from models.ingest.check.suspicions import Suspicion
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.expressions import Source, columns_of, listed
from models.ingest.tabular.table_mapping import Mapping

UNDECLARED: Final = "nobody_agreed"
"""The mapping reads no consent, so a declaration may replace it."""
ELSEWHERE: Final = "answers_not_given"
"""The mapping reads consent from a file of users that is not among these files."""
NO_AGREEMENT: Final = "users_did_not_agree"
"""The files hold consent, but no event belongs to a user who agreed."""
REASONS: Final = (NO_AGREEMENT, ELSEWHERE, UNDECLARED)
"""The reasons, the one with the most careful advice first."""
_AS_IF: Final = "Examples and broken rules show rows as they are with consent."


def missing_consent(mapping: SourceMapping, agreed: int, refused: int, own: bool) -> Iterable[Suspicion]:
    """Yield the reason why no event is accepted, from the numbers of users who `agreed` and `refused`.

    `own` states whether events carry consent.
    """
    users, events = (mapping.users, mapping.events) if isinstance(mapping, Mapping) else (None, None)
    in_events = events is not None and events.consent is not None
    write = ""
    if users and users.consent and not (agreed or refused or own):
        name = _names(users.consent)
        files = users.file if isinstance(users.file, str) else ", ".join(users.file)
        reason = ELSEWHERE
        message = (
            f"Consent is in the column {name} of the customer file ({files}), which is not among these files. Give "
            "that file too; without it, an ingest goes by the answers that are stored."
        )
    elif agreed or refused or own or in_events:
        reason = NO_AGREEMENT
        message = (
            f"No row would be accepted ({mapping.consent}): no event belongs to a user who agreed. The files hold "
            f"{agreed:,} answers of users that agree and {refused:,} that do not, or are empty. Compare the user ids "
            "of both files, and the words that mean yes: `consent_words`."
        )
    else:
        reason = UNDECLARED
        message = (
            f"No row would be accepted: the mapping asks for consent ({mapping.consent}) and reads no answers. Name "
            "the column of consent. If every user agreed, declare how. Without either, only stored answers count."
        )
        write = 'consent = "given"\nconsent_note = "clause 4 of our terms"'
    yield Suspicion(reason, f"{message} {_AS_IF}", write)


def _names(source: Source) -> str:
    return ", ".join(map(repr, columns_of(listed(source)))) or "of an expression"
