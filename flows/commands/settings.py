"""The settings file: write a first one, and show which values are in use."""

from flows.commands import running

app = running.group()


@app.command()
def init() -> None:
    """Write a commented tailorbird.toml with every setting into this folder; a file that is there stays."""
    from infra.configuration import template

    path = template.write()
    running.say(f"Wrote {path}. Set what you need in it, then start everything with: tailorbird up")
