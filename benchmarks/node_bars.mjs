// Bars as @backtest-kit/mongo would run them: ten reads, each the id from Redis and the document by its id, and four
// writes, each one findOneAndUpdate upsert and the id back to Redis. The package itself comes with its engine, so its
// commands are written out with the libraries that it uses.
//
//     node node_bars.mjs BARS PAYLOAD    prints the seconds

import Redis from "ioredis";
import mongoose from "mongoose";

const [bars, payload] = [Number(process.argv[2]), JSON.parse(process.argv[3])];
const redis = new Redis({
  host: process.env.CC_REDIS_HOST,
  port: Number(process.env.CC_REDIS_PORT),
  password: process.env.CC_REDIS_PASSWORD || undefined,
});
await mongoose.connect(process.env.CC_MONGO_CONNECTION_STRING);

const options = { timestamps: { createdAt: "createDate", updatedAt: "updatedDate" }, minimize: false };
const slots = ["signal", "schedule", "strategy", "recent", "state", "session"].map((name) => {
  const schema = new mongoose.Schema({ key: { type: String, required: true }, payload: mongoose.Schema.Types.Mixed }, options);
  schema.index({ key: 1 }, { unique: true });
  return { name, Model: mongoose.model(`node-${name}`, schema, `node-${name}`) };
});

async function read({ name, Model }) {
  const id = await redis.get(`${name}_cache:bars`);
  return id ? await Model.findById(id) : await Model.findOne({ key: "bars" });
}

async function write({ name, Model }, price) {
  const update = { $set: { payload: { ...payload, priceOpen: price } } };
  const row = await Model.findOneAndUpdate({ key: "bars" }, update, { upsert: true, new: true });
  await redis.set(`${name}_cache:bars`, String(row._id));
}

await Promise.all(slots.map(({ Model }) => Model.init()));
for (const slot of slots) await write(slot, 0);
const start = process.hrtime.bigint();
for (let bar = 0; bar < bars; bar++) {
  for (const place of [0, 2, 3, 4, 0, 2, 3, 4, 1, 5]) await read(slots[place]);
  for (const place of [0, 2, 3, 4]) await write(slots[place], bar);
}
console.log(Number(process.hrtime.bigint() - start) / 1e9);
await mongoose.disconnect();
redis.disconnect();
