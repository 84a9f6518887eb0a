// One message, sent by MQTT and by AMQP, looks the same to a reader of the
// Event Hubs-compatible endpoint.
import { test, describe, before, after } from 'node:test';
import assert from 'node:assert/strict';
import * as eventHubs from '@azure/event-hubs';
import * as world from './world.mjs';
import { transports, open, expiry, Client, ModuleClient, Message } from './device.mjs';

const { EventHubConsumerClient } = eventHubs;

// The names under which a property that Message has no field for gets through.
const spelled = {
  mqtt: { amqp: false, schema: '$.schema', creation: '$.ctime' },
  amqp: { amqp: true, schema: 'iothub-message-schema', creation: 'iothub-creation-time-utc' },
};

/** What is set on the message, and what the reader must see of it. */
const cases = [
  { name: 'nothing but a body', set: () => {}, want: {} },
  { name: 'message id', set: (m) => { m.messageId = 'id-1'; }, want: { messageId: 'id-1', systemProperties: { messageId: 'id-1' } } },
  {
    name: 'message id that looks like a UUID', set: (m) => { m.messageId = '6B8FA1C0-8b7e-4d7b-9e2e-0b6a4f1c9a55'.toLowerCase(); },
    want: { messageId: '6b8fa1c0-8b7e-4d7b-9e2e-0b6a4f1c9a55' },
  },
  { name: 'correlation id', set: (m) => { m.correlationId = 'cid/ä 1'; }, want: { correlationId: 'cid/ä 1' } },
  {
    name: 'correlation id that looks like a UUID', set: (m) => { m.correlationId = '0f0a0b0c-0d0e-4f10-8112-131415161718'; },
    want: { correlationId: '0f0a0b0c-0d0e-4f10-8112-131415161718' },
  },
  { name: 'content type', set: (m) => { m.contentType = 'application/json;charset=utf-8'; }, want: { contentType: 'application/json;charset=utf-8' } },
  { name: 'content encoding', set: (m) => { m.contentEncoding = 'utf-16'; }, want: { systemProperties: { contentEncoding: 'utf-16' } } },
  {
    name: 'expiry', set: (m, names) => { m.expiryTimeUtc = expiry(names.amqp, new Date('2031-02-03T04:05:06.789Z')); },
    want: { systemProperties: { absoluteExpiryTime: Date.parse('2031-02-03T04:05:06.789Z') } },
  },
  { name: 'creation time', set: (m, names) => m.properties.add(names.creation, '2026-01-02T03:04:05.678Z'), want: { properties: { 'iothub-creation-time-utc': '2026-01-02T03:04:05.678Z' } } },
  { name: 'schema', set: (m, names) => m.properties.add(names.schema, 'schema-1'), want: { properties: { 'iothub-message-schema': 'schema-1' } } },
  { name: 'component', set: (m) => m.properties.add('dt-subject', 'thermostat1'), want: { systemProperties: { 'dt-subject': 'thermostat1' } } },
  { name: 'security message', set: (m) => m.setAsSecurityMessage(), want: { systemProperties: { 'iothub-interface-id': 'urn:azureiot:Security:SecurityAgent:1' } } },
  { name: 'a property', set: (m) => m.properties.add('plain', 'value'), want: { properties: { plain: 'value' } } },
  {
    name: 'properties of every kind of text', set: (m) => {
      for (const [k, v] of [['with space & = %', 'sign/ü?#+ %20'], ['empty', ''], ['emoji', '🌡️'], ['long', 'x'.repeat(2000)], ['1', '2']]) m.properties.add(k, v);
    },
    want: { properties: { 'with space & = %': 'sign/ü?#+ %20', empty: '', emoji: '🌡️', long: 'x'.repeat(2000), 1: '2' } },
  },
  { name: 'no body', body: '', set: (m) => m.properties.add('k', 'v'), want: { properties: { k: 'v' } } },
  { name: 'a body of all bytes', body: Buffer.from(Array.from({ length: 256 }, (_, i) => i)), set: () => {}, want: {} },
  { name: 'a body of 200 KB', body: Buffer.alloc(200 * 1024, 'y'), set: (m) => { m.contentType = 'text/plain'; }, want: { contentType: 'text/plain' } },
  {
    name: 'everything', set: (m, names) => {
      m.messageId = 'm'; m.correlationId = 'c'; m.contentType = 'application/json'; m.contentEncoding = 'utf-8';
      m.expiryTimeUtc = expiry(names.amqp, new Date('2031-02-03T04:05:06Z'));
      m.properties.add(names.creation, '2026-01-02T03:04:05Z'); m.properties.add(names.schema, 's');
      m.properties.add('dt-subject', 'comp'); m.properties.add('a', '1'); m.properties.add('b', '2');
    },
    want: { messageId: 'm', correlationId: 'c', contentType: 'application/json', properties: { a: '1', b: '2', 'iothub-creation-time-utc': '2026-01-02T03:04:05Z', 'iothub-message-schema': 's' } },
  },
];

// What differs because it is another message, not because it came another way.
const ofItself = 'iothub-enqueuedtime';

describe('sent by MQTT and by AMQP, read by @azure/event-hubs', { concurrency: 1 }, () => {
  const start = Date.now();
  const byTransport = {};
  let device;
  let module;
  before(async () => {
    device = await world.createDevice('same');
    module = (await world.registry.addModule({ deviceId: device.deviceId, moduleId: 'm1' })).responseBody;
    const cleanup = { after: (f) => after(f) };
    for (const [name, { transport, amqp }] of Object.entries(transports)) {
      byTransport[name] = [];
      const names = amqp ? spelled.amqp : spelled.mqtt;
      for (const [kind, cs] of [[Client, world.deviceString(device)], [ModuleClient, world.moduleString(module)]]) {
        const c = await open(cleanup, cs, transport, kind);
        for (const x of cases) {
          const m = new Message(x.body ?? 'body');
          x.set(m, names);
          await c.sendEvent(m);
        }
        await world.closed(c);
      }
    }
    const c = new EventHubConsumerClient('$Default', world.eventsString);
    const total = Object.keys(transports).length * cases.length * 2;
    const got = [];
    let s;
    try {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`only ${got.length} of ${total} events`)), 20000);
        s = c.subscribe({
          processEvents: async (events) => {
            got.push(...events.filter((e) => e.systemProperties['iothub-connection-device-id'] === device.deviceId));
            if (got.length >= total) { clearTimeout(timer); resolve(); }
          },
          processError: async (err) => { clearTimeout(timer); reject(err); },
        }, { startPosition: { enqueuedOn: start - 1000 }, maxWaitTimeInSeconds: 1, skipParsingBodyAsJson: true });
      });
    } finally {
      await s.close();
      await world.closed(c);
    }
    assert.equal(got.length, total);
    // One device is in one partition, so that they come in the order of sending.
    for (const name of Object.keys(transports)) byTransport[name] = got.splice(0, cases.length * 2);
  });

  const essence = (e) => ({
    body: e.body, contentType: e.contentType, correlationId: e.correlationId, messageId: e.messageId, partitionKey: e.partitionKey,
    properties: e.properties,
    systemProperties: Object.fromEntries(Object.entries(e.systemProperties).filter(([k]) => k !== ofItself).sort()),
  });

  for (const [offset, sender] of [[0, 'device'], [cases.length, 'module']]) {
    cases.forEach((x, i) => test(`${sender}: ${x.name}`, () => {
      const events = Object.entries(byTransport).map(([name, list]) => [name, list[offset + i]]);
      const [, reference] = events[0];
      const want = Buffer.from(x.body ?? 'body');
      for (const [name, e] of events) {
        assert.ok(Buffer.isBuffer(e.body) ? want.equals(e.body) : want.toString() === `${e.body}`, `${name}: body`);
        for (const [k, v] of Object.entries(x.want)) {
          if (k === 'systemProperties') {
            for (const [key, value] of Object.entries(v)) assert.deepEqual(e.systemProperties[key], value, `${name}: ${key}`);
          } else {
            assert.deepEqual(e[k], v, `${name}: ${k}`);
          }
        }
        assert.deepEqual(e.properties ?? {}, x.want.properties ?? {}, `${name}: nothing of the hub's among the application's properties`);
        const { systemProperties } = e;
        assert.equal(systemProperties['iothub-connection-device-id'], device.deviceId);
        assert.equal(systemProperties['iothub-connection-module-id'], sender === 'module' ? 'm1' : undefined);
        assert.equal(systemProperties['iothub-connection-auth-generation-id'], (sender === 'module' ? module : device).generationId);
        assert.equal(JSON.parse(systemProperties['iothub-connection-auth-method']).type, 'sas');
        assert.equal(systemProperties['iothub-message-source'], 'Telemetry');
        assert.equal(typeof systemProperties['iothub-enqueuedtime'], 'number');
        assert.deepEqual(essence(e), essence(reference), `${name} against ${events[0][0]}`);
      }
    }));
  }
});
