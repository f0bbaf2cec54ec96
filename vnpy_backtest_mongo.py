"""The database that vnpy finds by ``SETTINGS["database.name"] = "backtest_mongo"``: see docs/veighna.md."""

from backtest_mongo.integrations.veighna import Database

__all__ = ["Database"]
