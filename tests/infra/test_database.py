import os
import subprocess
import sys

from sqlalchemy import text

from infra.database import engine, migrate

MIGRATE = "import os; from infra.database import migrate; migrate(os.environ['DATABASE'])"


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    with engine(empty_database).begin() as connection:
        connection.execute(text("INSERT INTO suppressions (user_key, reason) VALUES ('k', 'asked')"))
    migrate(empty_database)
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT user_key FROM suppressions")).scalars().all() == ["k"]
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    environment = os.environ | {"DATABASE": empty_database}
    command = [sys.executable, "-c", MIGRATE]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    with engine(empty_database).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM recommendations_by_user_id")).scalar() == 0
