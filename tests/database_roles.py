"""Gives a test's database roles that can log in."""

from sqlalchemy import create_engine, make_url, text

from infra.installation import Installation
from infra.services.database_access import grants, logins, role_rights


def create_roles(installation: Installation) -> None:
    """Create the roles of the database; those of an earlier database with its name have passwords of another test."""
    own = make_url(installation.endpoints.database_url)
    superuser = create_engine(own, isolation_level="AUTOCOMMIT")
    with superuser.connect() as connection:
        for role in grants.ROLES:
            connection.execute(text(f"DROP ROLE IF EXISTS {logins.name_of(role, str(own.database))}"))
    superuser.dispose()
    role_rights.ensure(installation.settings, own, own, print)
    # Otherwise the login of the owner would be used, which may do everything.
    assert set(logins.usable(installation.settings)) == set(grants.ROLES)
