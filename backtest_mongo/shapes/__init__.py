"""The five behaviours that the slots share, one hand-written base class each."""

from backtest_mongo.shapes.base import Adapter
from backtest_mongo.shapes.bucket import BucketAdapter
from backtest_mongo.shapes.collection import CollectionAdapter
from backtest_mongo.shapes.document import DocumentAdapter
from backtest_mongo.shapes.entry import EntryAdapter
from backtest_mongo.shapes.series import SeriesAdapter

__all__ = ["Adapter", "BucketAdapter", "CollectionAdapter", "DocumentAdapter", "EntryAdapter", "SeriesAdapter"]
