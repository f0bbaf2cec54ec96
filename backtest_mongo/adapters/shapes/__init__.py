"""The five behaviours that the slots share, one hand-written base class each."""

from backtest_mongo.adapters.shapes.columns import ColumnSeriesAdapter
from backtest_mongo.adapters.shapes.documents import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    DocumentAdapter,
    EntryAdapter,
)
from backtest_mongo.adapters.shapes.series import SeriesAdapter
from backtest_mongo.adapters.shapes.typed import (
    TypedAdapter,
    TypedBucketAdapter,
    TypedCollectionAdapter,
    TypedDocumentAdapter,
    TypedEntryAdapter,
)

__all__ = [
    "Adapter",
    "BucketAdapter",
    "CollectionAdapter",
    "ColumnSeriesAdapter",
    "DocumentAdapter",
    "EntryAdapter",
    "SeriesAdapter",
    "TypedAdapter",
    "TypedBucketAdapter",
    "TypedCollectionAdapter",
    "TypedDocumentAdapter",
    "TypedEntryAdapter",
]
