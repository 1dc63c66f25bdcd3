"""Writes docs/privacy_policy.md: `python -m docs.generators.privacy_page > docs/privacy_policy.md`."""

from tasks.privacy.register import document

__all__ = ["document"]

if __name__ == "__main__":
    print(document(), end="")
