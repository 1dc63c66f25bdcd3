"""States rules of operators in plain words, with their authors."""

from models.lists.rules.layer.rule_layer import AnyRule, HiddenItem, PinnedItem


def words(rule: AnyRule) -> str:
    """Return a sentence that states a rule, its end and its author."""
    if isinstance(rule, PinnedItem):
        stated = f"item {rule.item!r} is pinned to place {rule.place} of {rule.placement}"
    elif isinstance(rule, HiddenItem):
        stated = f"item {rule.item!r} is hidden {f'in {rule.placement}' if rule.placement else 'in all placements'}"
    else:
        stated = f"{rule.kind} {rule.value!r} is boosted by {rule.factor:g} in {rule.placement}"
    end = f" until {rule.until:%Y-%m-%d %H:%M %Z}" if rule.until else ""
    author = f", by {rule.author}" if rule.author else ""
    since = f" on {rule.since:%Y-%m-%d}" if rule.since else ""
    return f"{stated}{end}{author}{since}"
