// The Node process: read what Python has stored, and write an answer, as @backtest-kit/mongo does: the id from Redis,
// the document by its id, one findOneAndUpdate upsert, and the id back to Redis.
//
//     npm install && node node_side.mjs
//
// In an engine on backtest-kit, one `setup()` of @backtest-kit/mongo does this; here it is written out with the
// libraries that the package uses.

import Redis from "ioredis";
import mongoose from "mongoose";

const uri = process.env.CC_MONGO_CONNECTION_STRING ?? "mongodb://localhost:27017/backtest-kit";
const redis = new Redis({
  host: process.env.CC_REDIS_HOST || "127.0.0.1",
  port: Number(process.env.CC_REDIS_PORT || 6379),
});
await mongoose.connect(uri);

const schema = new mongoose.Schema(
  {
    symbol: { type: String, required: true },
    strategyName: { type: String, required: true },
    exchangeName: { type: String, required: true },
    payload: { type: mongoose.Schema.Types.Mixed },
  },
  { timestamps: { createdAt: "createDate", updatedAt: "updatedDate" }, minimize: false },
);
const Signal = mongoose.model("signal-items", schema, "signal-items");

const key = { symbol: "BTCUSDT", strategyName: "two-worlds", exchangeName: "binance" };
const redisKey = `signal_cache:${key.exchangeName}:${key.strategyName}:${key.symbol}`;

const id = await redis.get(redisKey);
const row = id ? await Signal.findById(id) : await Signal.findOne(key);
const shown = ["id", "position", "priceOpen", "priceTakeProfit", "minuteEstimatedTime"];
console.log(`node reads ${JSON.stringify(row?.payload ?? null, shown)} by ${id ? "the id in Redis" : "its key"}`);

const payload = { ...row?.payload, priceTakeProfit: 52_000, minuteEstimatedTime: Infinity, seenBy: "node" };
const written = await Signal.findOneAndUpdate(key, { $set: { payload } }, { upsert: true, new: true });
await redis.set(redisKey, String(written._id));
console.log(`node wrote its part into the same document: ${id === null || id === String(written._id)}`);

await mongoose.disconnect();
redis.disconnect();
