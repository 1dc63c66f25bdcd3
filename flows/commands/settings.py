"""The settings file: write a first one, and show which values are in use."""

import json

from flows.commands import running
from flows.commands.running import Json

app = running.group()


@app.command()
def init() -> None:
    """Write a commented tailorbird.toml with every setting into this folder; a file that is there stays."""
    from infra.configuration import template

    path = template.write()
    running.say(f"Wrote {path}. Set what you need in it, then start everything with: tailorbird up")


@app.command("settings")
def show(as_json: Json = False) -> None:
    """Every setting with its value and where that comes from, and running processes that use another value."""
    from dataclasses import asdict

    from infra.configuration import shown
    from infra.settings import load
    from serving import settings_screen

    given = load()
    rows, file = [asdict(row) for row in shown.rows(given)], given.settings_file
    print(json.dumps(rows)) if as_json else settings_screen.settings(rows, str(file) if file else None)
