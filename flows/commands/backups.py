"""Commands of backups: create, schedule, list, verify and restore them."""

from typing import Annotated

import typer

from flows.commands import running
from flows.commands.ingestion import Zone
from flows.commands.running import Json, print_message

app = running.group_with_default(
    "create",
    "Backups of the installation: `tailorbird backup PLACE` creates one, `tailorbird restore PLACE` restores it.",
)
back = running.group()
Place = Annotated[str, typer.Argument(help="A folder, or an address such as s3://bucket/backups.")]
Name = Annotated[
    str | None, typer.Option("--backup", help="Its name, as `backup list` shows it; by default the newest.")
]


@app.command()
def create(
    place: Place,
    keep: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Keep so many backups, and delete older ones.")
    ] = None,
    cron: Annotated[
        str | None, typer.Option(help='Schedule it with this cron line instead of running it now: "0 2 * * *".')
    ] = None,
    zone: Zone = "UTC",
    as_json: Json = False,
) -> None:
    """Store a backup while everything runs. Files that an earlier backup at this place has are not stored again.

    `tailorbird backup key` prints the key that a restore needs: keep it elsewhere.
    """
    from tasks.sources.locations import absolute

    parameters = {"place": absolute(place), "keep": keep}
    if cron:
        running.schedule("backup", "backup", cron, zone, parameters)
        return
    running.finish("backups", [running.flow("backup")(**parameters)], as_json)
    if not as_json:
        print_message("A restore needs its key, which `tailorbird backup key` prints. Keep it on another machine.")


@app.command("list")
def show_all(place: Place, as_json: Json = False) -> None:
    """List the backups at a place, the oldest first. No service has to run."""
    from infra.backup.repository import Repository

    repository = Repository(place)
    running.finish("backups", [repository.read(name).row() for name in repository.names()], as_json)


@app.command()
def verify(place: Place, name: Name = None, as_json: Json = False) -> None:
    """Read every file of a backup, and list missing and changed ones. The exit code is 1 if there are any."""
    from infra.backup.backup_key import BackupKey
    from infra.backup.repository import Repository
    from infra.backup.restore import sealed_backup
    from tasks.orchestration.progress import progress

    repository = Repository(place)
    backup = sealed_backup(repository, BackupKey.of(running.current_settings(), create=False), name)
    with progress("verify", len(backup.files) + 1) as advance:
        faults = repository.verify(backup, advance)
    if faults or as_json:
        running.finish("backup_faults", [{"fault": fault} for fault in faults], as_json)
    if faults:
        raise typer.Exit(1)
    print_message(f"The backup {backup.name} is complete: {len(backup.files):,} files are unchanged.")


@app.command()
def key() -> None:
    """Print the key that encrypts the secrets of backups. Whoever has a backup and this key has everything."""
    from infra.backup.backup_key import BackupKey

    print(BackupKey.of(running.current_settings()).value.hex())


@back.command()
def restore(place: Place, name: Name = None) -> None:
    """Restore a backup into an empty `var`, and erase users again who were erased since. Nothing may run there.

    The key of the backup is in the variable TAILORBIRD_SECRET_BACKUP_KEY.
    """
    from infra.backup.backup_key import BackupKey
    from infra.backup.create import RESTORED_SETTINGS
    from infra.backup.repository import Repository
    from infra.backup.restore import restore_backup, sealed_backup
    from infra.prefect_api.client import PrefectClient
    from infra.prefect_api.deployments import POOL
    from infra.prefect_api.flow_runs import crash_worker_runs
    from tasks.orchestration.progress import progress

    settings, repository = running.current_settings(), Repository(place)
    backup_key = BackupKey.of(settings, create=False)
    backup = sealed_backup(repository, backup_key, name)
    with progress("restore", len(backup.files)) as advance:
        restore_backup(settings, repository, backup_key, backup, advance)
    for part in backup.left_out:
        print_message(f"Not in the backup: {part}.")
    if (settings.var / RESTORED_SETTINGS).exists():
        print_message(f"Its settings are in {settings.var / RESTORED_SETTINGS}: compare them with those here.")
    print_message(
        f"All files of the backup {backup.name} are in {settings.var}. If the next step stops, continue it with "
        "`tailorbird up --stores-only` and `tailorbird privacy continue`."
    )
    crash_worker_runs(PrefectClient.of(running.start(stores_only=True)), POOL)  # they ran when the backup began
    removed = sum(running.flow("privacy", "mlflow")().values())
    erased = f"{removed:,} rows of users who were erased since then were deleted. " if removed else ""
    print_message(f"{erased}Start everything with: tailorbird up")
