// Back ends with azure-iothub over AMQP: sending commands and hearing what
// became of them.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import common from 'azure-iot-common';
import * as world from './world.mjs';
import { transports, open, Message } from './device.mjs';

const { Client, Amqp, AmqpWs } = azureIothub;
const { NoRetry } = common;

async function connect(t, cs, transport) {
  const c = Client.fromConnectionString(cs, transport);
  c.setRetryPolicy(new NoRetry()); // a refusal is to be seen, not tried again for minutes
  await c.open();
  t.after(() => c.close().catch(() => {}));
  return c;
}

const command = (body, id, ack) => {
  const m = new Message(body);
  m.messageId = id;
  if (ack) m.ack = ack;
  return m;
};

describe('commands', { concurrency: true }, () => [['Amqp', Amqp], ['AmqpWs', AmqpWs]].forEach(([name, transport]) => {
  describe(name, { concurrency: 1 }, () => {
    test('a command arrives with everything it has', async (t) => {
      const d = await world.createDevice('cmd');
      const s = await connect(t, world.service, transport);
      const m = command(Buffer.from([0, 1, 2, 255]), 'id-1', 'full');
      m.correlationId = 'cid/ä 1';
      m.contentType = 'application/octet-stream';
      m.contentEncoding = 'identity';
      m.expiryTimeUtc = Date.now() + 3600 * 1000; // a Date throws inside the SDK's library
      m.properties.add('plain', 'value');
      m.properties.add('with.other-signs_1', 'sign/ü?#+ %20');
      assert.equal((await s.send(d.deviceId, m)).result.constructor.name, 'MessageEnqueued');
      const guid = '6b8fa1c0-8b7e-4d7b-9e2e-0b6a4f1c9a55';
      const second = command('second', guid); // looks like a UUID: the SDK sends it as one
      second.correlationId = guid;
      await s.send(d.deviceId, second);
      await s.send(d.deviceId, new Message('bare'));

      const c = await open(t, world.deviceString(d), transports.Amqp.transport);
      const got = [];
      c.on('message', (x) => { got.push(x); c.complete(x); });
      await world.until('the commands', () => got.length === 3);
      assert.deepEqual([...got[0].getData()], [0, 1, 2, 255]);
      assert.equal(got[0].messageId, 'id-1');
      assert.equal(got[0].correlationId, 'cid/ä 1');
      assert.equal(got[0].contentType, 'application/octet-stream');
      assert.equal(got[0].contentEncoding, 'identity');
      assert.equal(got[0].ack, 'full');
      assert.equal(new Date(got[0].expiryTimeUtc).getTime(), m.expiryTimeUtc);
      assert.deepEqual(Object.fromEntries(got[0].properties.propertyList.map(({ key, value }) => [key, value])),
        { plain: 'value', 'with.other-signs_1': 'sign/ü?#+ %20' });
      assert.ok(Math.abs(new Date(got[0].transportObj.message_annotations['iothub-enqueuedtime']).getTime() - Date.now()) < 60000);
      assert.equal(got[1].messageId, guid);
      assert.equal(got[1].correlationId, guid);
      assert.equal(got[2].getData().toString(), 'bare');
      assert.equal(got[2].messageId || '', '');
    });

    test('typed errors: unknown device, full queue, too large, bad arguments, no right', async (t) => {
      const d = await world.createDevice('cmderr');
      const s = await connect(t, world.service, transport);
      await assert.rejects(s.send('no-such-device', command('x', '1')), { name: 'DeviceNotFoundError' });
      // All that belongs to the message counts: here one byte of the id.
      await assert.rejects(s.send(d.deviceId, command('x'.repeat(64 * 1024), '1')), { name: 'MessageTooLargeError' });
      await s.send(d.deviceId, command('x'.repeat(64 * 1024 - 1), '1'));
      const late = command('x', '1');
      late.expiryTimeUtc = Date.now() + 3 * 24 * 3600 * 1000;
      await assert.rejects(s.send(d.deviceId, late), { name: 'ArgumentError' });
      await Promise.all(Array.from({ length: 49 }, (_, i) => s.send(d.deviceId, command('x', `${i + 2}`))));
      await assert.rejects(s.send(d.deviceId, command('x', '51')), { name: 'DeviceMaximumQueueDepthExceededError' });
      assert.equal(await world.commandCount(d.deviceId), 50);
      // A refusal does not cost the link.
      const other = await world.createDevice('cmdok');
      await s.send(other.deviceId, command('x', '1'));
      const wrong = world.service.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32, 3).toString('base64')}`);
      await assert.rejects(connect(t, wrong, transport), (err) => err.amqpError.name === 'UnauthorizedError');
      const reader = await connect(t, await world.policy('registryRead'), transport);
      await assert.rejects(reader.send(other.deviceId, command('x', '1')), { name: 'UnauthorizedError' });
    });
  });
}));

describe('feedback', { concurrency: 1 }, () => {
  // One receiver hears all that happens on the hub.
  const batches = [];
  let client;
  let receiver;
  let decide = () => 'complete';
  before(async () => {
    client = Client.fromConnectionString(world.service, Amqp);
    await client.open();
    receiver = (await client.getFeedbackReceiver()).result;
    receiver.on('message', (m) => {
      const batch = { message: m, records: JSON.parse(m.getData().toString()) };
      batches.push(batch);
      // The SDK accepts a message by itself unless its handler says something else at once.
      receiver[decide(batch)](m, () => {});
    });
  });
  after(() => client.close());

  const records = (ids, list = batches) => list.flatMap((b) => b.records).filter((r) => ids.includes(r.originalMessageId));

  test('full, positive and negative; success, rejected, expired, too often, purged', async (t) => {
    const s = await connect(t, world.service, Amqp);
    // A device for each outcome: rhea says the state of the first of two deliveries for
    // both when neighbours are settled at once and differently.
    const devices = {};
    const run = world.unique('run');
    const id = (outcome, ack) => `${run}-${outcome}-${ack}`;
    const verbs = { ok: 'complete', no: 'reject', often: 'abandon' };
    const acks = ['full', 'positive', 'negative', undefined];
    const send = (device, outcome, ack, expiry) => {
      const m = command(`${outcome}`, id(outcome, ack), ack);
      if (expiry) m.expiryTimeUtc = expiry;
      return s.send(device, m);
    };
    for (const outcome of Object.keys(verbs)) {
      devices[outcome] = await world.createDevice(`fb${outcome}`);
      for (const ack of acks) await send(devices[outcome].deviceId, outcome, ack);
    }
    // Nobody takes these: their time is over, or the queue is emptied.
    const away = await world.createDevice('fbaway');
    for (const ack of acks) await send(away.deviceId, 'late', ack, Date.now() + 1000);
    const purged = await world.createDevice('fbpurge');
    for (const ack of acks) await send(purged.deviceId, 'purged', ack);
    const r = await world.request('DELETE', `https://${world.host}/devices/${purged.deviceId}/commands?api-version=2021-04-12`, { token: world.ownerToken() });
    assert.equal(r.status, 200, r.body.toString());
    assert.equal(JSON.parse(r.body).totalMessagesPurged, 4);
    for (const [outcome, verb] of Object.entries(verbs)) {
      const c = await open(t, world.deviceString(devices[outcome]), transports.Amqp.transport);
      c.on('message', (m) => c[verb](m));
    }

    const want = {};
    const expected = { ok: 'Success', no: 'Rejected', often: 'DeliveryCountExceeded', late: 'Expired', purged: 'Purged' };
    for (const [outcome, status] of Object.entries(expected)) {
      for (const ack of outcome === 'ok' ? ['full', 'positive'] : ['full', 'negative']) want[id(outcome, ack)] = status;
    }
    const mine = () => batches.flatMap((b) => b.records).filter((x) => x.originalMessageId.startsWith(run));
    await world.until('all feedback', () => mine().length >= Object.keys(want).length, 60000);
    const got = mine();
    assert.deepEqual(Object.fromEntries(got.map((x) => [x.originalMessageId, x.statusCode])), want);
    assert.equal(got.length, Object.keys(want).length, 'nothing comes twice');
    const one = got.find((x) => x.originalMessageId === id('ok', 'full'));
    assert.equal(one.deviceId, devices.ok.deviceId);
    assert.equal(one.deviceGenerationId, devices.ok.generationId);
    assert.equal(one.description, 'Success');
    assert.match(one.enqueuedTimeUtc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/);
    const { message } = batches.find((b) => b.records.some((x) => x.originalMessageId === one.originalMessageId));
    assert.equal(message.contentType, 'application/vnd.microsoft.iothub.feedback.json');
    assert.equal(message.contentEncoding, 'utf-8');
    assert.ok(message.messageId);
    assert.ok(message.transportObj.user_id.length > 0);
    assert.ok(message.transportObj.message_annotations['iothub-enqueuedtime'] instanceof Date || Number(message.transportObj.message_annotations['iothub-enqueuedtime']) > 0);
    assert.ok(batches.some((b) => b.records.length > 1), 'records are gathered');
  });

  test('64 records make a message at once; abandoned comes again, rejected does not', async (t) => {
    const s = await connect(t, world.service, Amqp);
    const run = world.unique('many');
    const devices = [await world.createDevice('fb64'), await world.createDevice('fb64')];
    const clients = [];
    for (const d of devices) clients.push(await open(t, world.deviceString(d), transports.Amqp.transport));
    const seen = [];
    decide = (b) => {
      const ours = b.records.filter((r) => r.originalMessageId.startsWith(run));
      if (ours.length === 0) return 'complete';
      seen.push(b);
      return ['abandon', 'abandon', 'reject'][seen.length - 1] ?? 'complete';
    };
    t.after(() => { decide = () => 'complete'; });
    const start = Date.now();
    for (let i = 0; i < 64; i++) await s.send(devices[i % 2].deviceId, command('x', `${run}-${i}`, 'full'));
    for (const c of clients) c.on('message', (m) => c.complete(m));
    await world.until('the batch, three times', () => seen.length >= 3, 30000);
    assert.ok(Date.now() - start < 14000, 'a full batch must not wait for its time');
    assert.equal(seen[0].records.length, 64);
    assert.deepEqual(seen[1].records, seen[0].records);
    assert.deepEqual(seen[2].records, seen[0].records);
    assert.deepEqual(seen.slice(0, 3).map((b) => Number(b.message.transportObj.message_annotations['iothub-deliverycount'])), [0, 1, 2]);
    // The next batch comes, and the rejected one has not come before it.
    for (let i = 64; i < 128; i++) await s.send(devices[i % 2].deviceId, command('x', `${run}-${i}`, 'full'));
    await world.until('the next batch', () => records([`${run}-127`]).length >= 1, 30000);
    assert.equal(records([`${run}-0`], seen).length, 3);
  });
});
