"""Writes the table as files: the shop's first export, and the same rows under another name with numbers as text."""

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

_MOMENT: Final = "%Y-%m-%d %H:%M:%S"


def read(path: Path) -> pd.DataFrame:
    """Read a table with the eight columns that `export` makes."""
    rows = (
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, encoding_errors="replace")
    )
    customer = pd.to_numeric(rows["CustomerID"], errors="coerce")
    return rows.assign(
        InvoiceNo=rows["InvoiceNo"].astype(str),
        StockCode=rows["StockCode"].astype(str),
        Quantity=pd.to_numeric(rows["Quantity"]).astype("int64"),
        UnitPrice=pd.to_numeric(rows["UnitPrice"]),
        InvoiceDate=pd.to_datetime(rows["InvoiceDate"]),
        CustomerID=customer.map("{:.1f}".format, na_action="ignore").astype(object),
    )


def write_export(rows: pd.DataFrame, folder: Path, name: str = "online_retail.parquet") -> Path:
    """Write the rows with the shop's types: numbers as numbers, customers as text."""
    path = folder / name
    rows.assign(InvoiceDate=rows["InvoiceDate"].dt.strftime(_MOMENT)).to_parquet(path, index=False)
    return path


def write_impressions(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Path:
    """Write a week of lists that customers of the rows saw after them, without any other act."""
    path, begin = folder / "impressions.csv", rows["InvoiceDate"].max().normalize() + pd.Timedelta(days=1)
    known = rows.dropna(subset=["CustomerID"])
    shown = known.sample(4 * len(known), replace=True, random_state=random)
    minutes = pd.to_timedelta(random.integers(0, 7 * 1440, size=len(shown)), unit="min")
    columns = {"user": shown["CustomerID"].str.removesuffix(".0"), "item": shown["StockCode"].str.strip().str.upper()}
    pd.DataFrame(columns | {"at": (begin + minutes).strftime(_MOMENT)}).to_csv(path, index=False)
    return path


def write_renamed(rows: pd.DataFrame, folder: Path) -> Path:
    """Write the same rows in another order and under another name, all numbers as text."""
    path = folder / "Export (2) final.parquet"
    turned = rows.iloc[::-1]
    words = {"Quantity": turned["Quantity"].astype(str), "UnitPrice": turned["UnitPrice"].astype(str)}
    turned.assign(**words, InvoiceDate=turned["InvoiceDate"].dt.strftime(_MOMENT)).to_parquet(path, index=False)
    return path
