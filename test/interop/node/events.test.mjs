// Readers of the Event Hubs-compatible endpoint with @azure/event-hubs.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import * as eventHubs from '@azure/event-hubs';
import WebSocket from 'ws';
import * as world from './world.mjs';
import { transports, Client, Message } from './device.mjs';

const { EventHubConsumerClient, earliestEventPosition, latestEventPosition } = eventHubs;
const group = '$Default';

const socket = { webSocketOptions: { webSocket: WebSocket, webSocketConstructorOptions: { ca: world.ca } } };
const retryOptions = { maxRetries: 0, timeoutInMs: 15000 };

function consumer(t, options = {}, cs = world.eventsString, consumerGroup = group, store) {
  const all = { retryOptions, ...options };
  const c = store ? new EventHubConsumerClient(consumerGroup, cs, store, all) : new EventHubConsumerClient(consumerGroup, cs, all);
  t.after(() => world.closed(c));
  return c;
}
after(() => { setTimeout(() => process.exit(), 1000).unref(); });

/**
 * read subscribes to one partition, or to all, and resolves to the events once
 * enough(list) holds.
 */
async function read(c, partition, options, enough, timeoutMs = 20000) {
  const got = [];
  let subscription;
  const handlers = (resolve, reject) => ({
    processEvents: async (events, context) => {
      for (const e of events) got.push({ ...e, partitionId: context.partitionId, last: { ...context.lastEnqueuedEventProperties } });
      if (enough(got)) resolve(got);
    },
    processError: async (err) => reject(err),
  });
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`only ${got.length} events: ${JSON.stringify(got.slice(-3))}`)), timeoutMs);
      const h = handlers(resolve, reject);
      const o = { maxBatchSize: 100, maxWaitTimeInSeconds: 1, ...options };
      subscription = partition === undefined ? c.subscribe(h, o) : c.subscribe(partition, h, o);
    });
  } finally {
    clearTimeout(timer);
    await subscription?.close();
  }
}

// What the cases share: telemetry of several devices, in every partition.
const start = new Date();
const sent = new Map(); // body, device
let partitions; // of those events, by id, in order
let ids;

async function send(device, count, tag) {
  const client = Client.fromConnectionString(world.deviceString(device), transports.Mqtt.transport);
  await client.setOptions({ ca: world.ca });
  await client.open();
  for (let i = 0; i < count; i++) {
    const m = new Message(JSON.stringify({ device: device.deviceId, i, tag }));
    m.messageId = `${device.deviceId}-${i}`;
    m.contentType = 'application/json';
    m.contentEncoding = 'utf-8';
    m.properties.add('n', `${i}`);
    await client.sendEvent(m);
    if (tag === undefined) sent.set(m.messageId, device);
  }
  await client.close();
}

const key = (e) => e.messageId;

before(async () => {
  const c = new EventHubConsumerClient(group, world.eventsString, { retryOptions });
  try {
    ids = await c.getPartitionIds();
    for (let round = 0; ; round++) {
      assert.ok(round < 10, 'devices did not spread over the partitions');
      const devices = await Promise.all(Array.from({ length: 8 }, () => world.createDevice('eh')));
      await Promise.all(devices.map((d) => send(d, 5)));
      const all = await read(c, undefined, { startPosition: { enqueuedOn: start.getTime() - 1000 } },
        (l) => new Set(l.map(key).filter((k) => sent.has(k))).size === sent.size);
      partitions = new Map(ids.map((id) => [id, all.filter((e) => e.partitionId === id && sent.has(key(e)))]));
      if ([...partitions.values()].every((l) => l.length >= 5)) return;
    }
  } finally {
    await c.close();
  }
});

for (const [name, options] of [['AMQP', {}], ['WebSocket', socket]]) {
  describe(`events over ${name}`, { concurrency: true }, () => {
    test('properties of hub and partitions', async (t) => {
      const c = consumer(t, options);
      const hub = await c.getEventHubProperties();
      assert.equal(hub.name, c.eventHubName);
      assert.deepEqual(hub.partitionIds, ['0', '1', '2', '3']);
      assert.ok(Math.abs(hub.createdOn.getTime() - Date.now()) < 3600 * 1000);
      for (const id of ids) {
        const p = await c.getPartitionProperties(id);
        const last = partitions.get(id).at(-1);
        assert.equal(p.partitionId, id);
        assert.equal(p.eventHubName, hub.name);
        assert.equal(p.isEmpty, false);
        assert.ok(p.beginningSequenceNumber >= 0);
        assert.ok(p.lastEnqueuedSequenceNumber >= last.sequenceNumber);
        assert.equal(typeof p.lastEnqueuedOffset, 'string');
        assert.ok(p.lastEnqueuedOnUtc >= last.enqueuedTimeUtc);
      }
      await assert.rejects(c.getPartitionProperties('99'));
    });

    test('all partitions: everything once, in order, as it was sent', async (t) => {
      const c = consumer(t, options);
      const all = (await read(c, undefined, { startPosition: { enqueuedOn: start.getTime() - 1000 } },
        (l) => new Set(l.map(key).filter((k) => sent.has(k))).size === sent.size)).filter((e) => sent.has(key(e)));
      assert.equal(all.length, sent.size, 'nothing comes twice');
      const next = new Map();
      for (const e of all) {
        const device = sent.get(key(e));
        assert.deepEqual(e.body, { device: device.deviceId, i: next.get(device) ?? 0 });
        next.set(device, (next.get(device) ?? 0) + 1);
        assert.equal(e.contentType, 'application/json');
        assert.equal(e.systemProperties.contentEncoding, 'utf-8');
        assert.deepEqual(e.properties, { n: `${e.body.i}` });
        assert.equal(e.systemProperties['iothub-connection-device-id'], device.deviceId);
        assert.equal(e.systemProperties['iothub-connection-auth-generation-id'], device.generationId);
        assert.equal(e.systemProperties['iothub-message-source'], 'Telemetry');
        assert.equal(JSON.parse(e.systemProperties['iothub-connection-auth-method']).scope, 'device');
        assert.ok(Math.abs(e.systemProperties['iothub-enqueuedtime'] - e.enqueuedTimeUtc.getTime()) < 5000);
      }
      for (const id of ids) {
        const l = all.filter((e) => e.partitionId === id);
        assert.deepEqual(l.map((e) => e.sequenceNumber), l.map((e) => e.sequenceNumber).sort((a, b) => a - b));
      }
    });

    test('start positions', async (t) => {
      const c = consumer(t, options);
      const id = ids[0];
      const list = partitions.get(id);
      const at = list[2];
      const first = async (startPosition) => (await read(c, id, { startPosition }, (l) => l.length > 0))[0];
      assert.equal((await first({ sequenceNumber: at.sequenceNumber, isInclusive: true })).sequenceNumber, at.sequenceNumber);
      assert.equal((await first({ sequenceNumber: at.sequenceNumber })).sequenceNumber, at.sequenceNumber + 1);
      assert.equal((await first({ offset: at.offset, isInclusive: true })).sequenceNumber, at.sequenceNumber);
      assert.equal((await first({ offset: at.offset })).sequenceNumber, at.sequenceNumber + 1);
      const p = await c.getPartitionProperties(id);
      assert.equal((await first(earliestEventPosition)).sequenceNumber, p.beginningSequenceNumber);
      const late = await first({ enqueuedOn: at.enqueuedTimeUtc });
      assert.ok(late.enqueuedTimeUtc > at.enqueuedTimeUtc, 'later than the time given');
      const early = await first({ enqueuedOn: new Date(at.enqueuedTimeUtc.getTime() - 1) });
      assert.equal(early.enqueuedTimeUtc.getTime(), at.enqueuedTimeUtc.getTime());
    });

    test('latest: only what comes afterwards', async (t) => {
      const c = consumer(t, options);
      const d = await world.createDevice('ehlatest');
      const got = [];
      let errors = 0;
      const s = c.subscribe({
        processEvents: async (events) => { got.push(...events); },
        processError: async () => { errors++; },
      }, { startPosition: latestEventPosition, maxWaitTimeInSeconds: 1 });
      t.after(() => s.close());
      // The SDK does not tell when its links stand: send until one has come.
      let n = 0;
      await world.until('a new event', async () => {
        await send(d, 1, `${n++}`);
        return got.some((e) => e.body?.device === d.deviceId);
      });
      assert.equal(errors, 0);
      assert.ok(got.every((e) => e.enqueuedTimeUtc >= start));
      const own = got.filter((e) => e.body?.device === d.deviceId).map((e) => Number(e.body.tag));
      assert.deepEqual(own, Array.from({ length: own.length }, (_, i) => own[0] + i), 'no gap once it stands');
    });

    test('the properties of the last event come along', async (t) => {
      const c = consumer(t, options);
      const id = ids[1];
      const before = await c.getPartitionProperties(id);
      const [e] = await read(c, id, { startPosition: earliestEventPosition, trackLastEnqueuedEventProperties: true, maxBatchSize: 1 }, (l) => l.length > 0);
      assert.ok(e.last.sequenceNumber >= before.lastEnqueuedSequenceNumber);
      assert.ok(Number(e.last.offset) >= Number(before.lastEnqueuedOffset));
      assert.ok(e.last.enqueuedOn >= before.lastEnqueuedOnUtc);
      assert.ok(Math.abs(e.last.retrievedOn.getTime() - Date.now()) < 60000);
    });

    test('batches are as large as asked for', async (t) => {
      const c = consumer(t, options);
      const id = ids[2];
      const sizes = [];
      const got = [];
      const s = c.subscribe(id, {
        processEvents: async (events) => { if (events.length) { sizes.push(events.length); got.push(...events); } },
        processError: async (err) => { sizes.push(err); },
      }, { startPosition: { sequenceNumber: partitions.get(id)[0].sequenceNumber, isInclusive: true }, maxBatchSize: 2, maxWaitTimeInSeconds: 1 });
      t.after(() => s.close());
      await world.until('five events', () => got.length >= 5);
      assert.ok(sizes.every((n) => n <= 2), `${sizes}`);
      assert.deepEqual(got.slice(0, 5).map((e) => e.sequenceNumber), partitions.get(id).slice(0, 1).flatMap((e) => [0, 1, 2, 3, 4].map((i) => e.sequenceNumber + i)));
    });

    test('owner level: the higher one takes over, a lower one is refused', async (t) => {
      const id = ids[3];
      const groupName = await world.consumerGroup(t, 'owner');
      const startPosition = earliestEventPosition;
      const watch = (ownerLevel) => {
        const w = { events: 0, errors: [] };
        const c = consumer(t, options, world.eventsString, groupName);
        const s = c.subscribe(id, {
          processEvents: async (events) => { w.events += events.length; },
          processError: async (err) => { w.errors.push(err); },
        }, { startPosition, ownerLevel, maxWaitTimeInSeconds: 1 });
        t.after(() => s.close());
        return w;
      };
      const one = watch(1);
      await world.until('the first reader', () => one.events > 0);
      const two = watch(2);
      await world.until('the second reader', () => two.events > 0);
      await world.until('the first to be told', () => one.errors.length > 0);
      assert.equal(one.errors[0].code, 'ReceiverDisconnectedError', `${one.errors[0]}`);
      const late = watch(1);
      await world.until('the third to be refused', () => late.errors.length > 0);
      assert.equal(late.errors[0].code, 'ReceiverDisconnectedError', `${late.errors[0]}`);
      const none = watch(undefined);
      await world.until('a reader without a level to be refused', () => none.errors.length > 0);
      assert.equal(two.errors.length, 0, `${two.errors[0]}`);
      assert.equal(late.events + none.events, 0);
    });

    test('consumer groups: each reads everything; one that does not exist is refused', async (t) => {
      const name = await world.consumerGroup(t, 'reader');
      for (const g of [name, group, '$default']) {
        const c = consumer(t, options, world.eventsString, g);
        const [e] = await read(c, ids[0], { startPosition: earliestEventPosition }, (l) => l.length > 0);
        assert.ok(e.sequenceNumber >= 0);
      }
      await assert.rejects(read(consumer(t, options, world.eventsString, 'no-such-group'), ids[0], { startPosition: earliestEventPosition }, (l) => l.length > 0), { code: 'MessagingEntityNotFoundError' });
      await assert.rejects(read(consumer(t, options), '77', { startPosition: earliestEventPosition }, (l) => l.length > 0));
    });

    test('at most five readers of a partition and group', async (t) => {
      const name = await world.consumerGroup(t, 'five');
      const readers = Array.from({ length: 5 }, () => {
        const w = { events: 0, errors: [] };
        const s = consumer(t, options, world.eventsString, name).subscribe(ids[0], {
          processEvents: async (events) => { w.events += events.length; },
          processError: async (err) => { w.errors.push(err); },
        }, { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 });
        t.after(() => s.close());
        return w;
      });
      await world.until('five readers', () => readers.every((w) => w.events > 0));
      await assert.rejects(read(consumer(t, options, world.eventsString, name), ids[0], { startPosition: earliestEventPosition }, (l) => l.length > 0));
      assert.ok(readers.every((w) => w.errors.length === 0));
    });

    test('wrong key, policy without the right', async (t) => {
      const wrong = world.eventsString.replace(/SharedAccessKey=[^;]*/, 'SharedAccessKey=AAAA');
      await assert.rejects(consumer(t, options, wrong).getEventHubProperties(), { code: 'UnauthorizedError' });
      const p = world.parts(await world.policy('registryRead'));
      const reader = world.eventsString.replace(/SharedAccessKeyName=[^;]*;SharedAccessKey=[^;]*/, `SharedAccessKeyName=${p.SharedAccessKeyName};SharedAccessKey=${p.SharedAccessKey}`);
      await assert.rejects(consumer(t, options, reader).getEventHubProperties(), { code: 'UnauthorizedError' });
    });
  });
}

/** Checkpoints and ownership in memory: the interface is the SDK's, the store ours. */
class Store {
  checkpoints = new Map();
  owners = new Map();
  etag = 0;
  async listOwnership() { return [...this.owners.values()]; }
  async claimOwnership(wanted) {
    return wanted.flatMap((o) => {
      const old = this.owners.get(o.partitionId);
      if (old && old.etag !== o.etag) return [];
      const own = { ...o, etag: `${++this.etag}`, lastModifiedTimeInMs: Date.now() };
      this.owners.set(o.partitionId, own);
      return [own];
    });
  }
  async updateCheckpoint(c) { this.checkpoints.set(c.partitionId, c); }
  async listCheckpoints() { return [...this.checkpoints.values()]; }
}

describe('checkpoints', { concurrency: true }, () => {
  const balance = { loadBalancingOptions: { strategy: 'greedy', updateIntervalInMs: 200, partitionOwnershipExpirationIntervalInMs: 2000 } };

  test('a second run goes on where the first stopped', async (t) => {
    const store = new Store();
    const startPosition = { enqueuedOn: start.getTime() - 1000 };
    const seen = [];
    const run = async (until) => {
      const c = consumer(t, balance, world.eventsString, group, store);
      let s;
      try {
        await new Promise((resolve, reject) => {
          s = c.subscribe({
            processEvents: async (events, context) => {
              for (const e of events) {
                if (seen.length >= until) return resolve();
                if (sent.has(key(e))) seen.push(key(e));
                await context.updateCheckpoint(e);
              }
              if (seen.length >= until) resolve();
            },
            processError: async (err) => reject(err),
          }, { startPosition, maxBatchSize: 3, maxWaitTimeInSeconds: 1 });
        });
      } finally {
        await s.close();
        await world.closed(c);
      }
    };
    const half = Math.floor(sent.size / 2);
    await run(half);
    assert.equal(seen.length, half);
    await run(sent.size);
    assert.equal(new Set(seen).size, sent.size);
    assert.equal(seen.length, sent.size, 'no event twice');
  });

  test('two processors share the partitions, and one inherits them', async (t) => {
    const store = new Store();
    const name = await world.consumerGroup(t, 'share');
    const processor = (label) => {
      const p = { label, owned: new Set(), errors: [] };
      p.client = consumer(t, { ...balance, loadBalancingOptions: { ...balance.loadBalancingOptions, strategy: 'balanced' } }, world.eventsString, name, store);
      p.subscription = p.client.subscribe({
        processInitialize: async (context) => { p.owned.add(context.partitionId); },
        processClose: async (_reason, context) => { p.owned.delete(context.partitionId); },
        processEvents: async (events, context) => { if (events.length) await context.updateCheckpoint(events.at(-1)); },
        processError: async (err) => { p.errors.push(err); },
      }, { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 });
      t.after(() => p.subscription.close());
      return p;
    };
    const a = processor('a');
    await world.until('all partitions', () => a.owned.size === ids.length, 30000);
    const b = processor('b');
    await world.until('both to own half', () => a.owned.size === 2 && b.owned.size === 2, 30000);
    assert.deepEqual([...a.owned, ...b.owned].sort(), [...ids].sort());
    await a.subscription.close();
    await world.until('one to own all', () => b.owned.size === ids.length, 30000);
    // Losing a partition is told as the end of a reader, nothing else.
    for (const err of [...a.errors, ...b.errors]) assert.equal(err.code, 'ReceiverDisconnectedError', `${err}`);
  });
});
