"""The tables of experiments and of the people in them."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from infra.database.schema.schema import aliases, metadata, moment


def _share(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("placements", ARRAY(Text), nullable=False),
    Column("variants", ARRAY(Text), nullable=False, comment="The first one is the control."),
    Column("upto", ARRAY(Double), nullable=False, comment="The share of people in a variant and in those before it."),
    Column("changed", ARRAY(Text), nullable=False, comment="The variants with lists of their own."),
    Column("layer", Text, nullable=False, comment="Experiments of one layer have different people."),
    Column("layer_salt", LargeBinary, nullable=False, comment="The secret key of a person's place in the layer."),
    Column("salt", LargeBinary, nullable=False, comment="The secret key of a person's variant."),
    _share("slot_from"),
    _share("slot_until"),
    _share("ramp_days"),
    Column("holdout", Boolean, nullable=False, comment="People in a changed variant are in no other experiment."),
    Column("definition", JSONB, nullable=False, comment="The placements and models of the variants, as at the start."),
    Column("primary_metric", Text, nullable=False),
    Column("started_by", Text, nullable=False),
    moment("created_at", now=True),
    moment("started_at", comment="When people first got its variants; empty while their lists are made."),
    moment("ends_at"),
    moment("stopped_at"),
    Column("stopped_by", Text),
    Column("stop_reason", Text),
    CheckConstraint("0 <= slot_from AND slot_from < slot_until AND slot_until <= 1", name="ck_experiments_slot"),
    CheckConstraint("cardinality(variants) = cardinality(upto)", name="ck_experiments_variants"),
    comment="Experiments that were started; the file of experiments does not change them any more.",
)

experiment_units = Table(
    "experiment_units",
    metadata,
    Column("experiment_id", ForeignKey("experiments.experiment_id", ondelete="CASCADE"), primary_key=True),
    Column("unit_key", Text, primary_key=True, comment="The user_key, or the key of a device before its sign-in."),
    Column("variant", Text, nullable=False),
    Column("device_key", Text, comment="The device of a user whose variant was that of the device."),
    moment("first_at", now=True),
    Index("ix_experiment_units_unit_key", "unit_key"),
    comment="The variant of each person who was shown one; it stays.",
)

devices_of_users = Index("ix_aliases_user_key", aliases.c.user_key)
"""Finds the devices of a user, whose variant the user takes over."""

experiment_readouts = Table(
    "experiment_readouts",
    metadata,
    Column("experiment_id", ForeignKey("experiments.experiment_id", ondelete="CASCADE"), primary_key=True),
    Column("until", DateTime(timezone=True), primary_key=True, comment="The end of the last day that it counts."),
    Column("content", JSONB, nullable=False),
    moment("made_at", now=True),
    comment="What each experiment had shown at the end of a day.",
)
