// Devices and modules with azure-iot-device over MQTT, on TCP and WebSocket.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import device from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import common from 'azure-iot-common';
import * as world from './world.mjs';

const { Client, ModuleClient, Message } = device;
const { NoRetry } = common;
const transports = { Mqtt: mqtt.Mqtt, MqttWs: mqtt.MqttWs };

async function open(t, cs, transport, kind = Client, options = {}) {
  const c = kind.fromConnectionString(cs, transport);
  await c.setOptions({ ca: world.ca, ...options });
  c.on('error', () => {}); // the tests look at results, the client reconnects
  await c.open();
  t.after(() => c.close().catch(() => {}));
  return c;
}

/** messages returns what arrived of a device when it is as many as n. */
const messages = (deviceId, n) => world.events(deviceId, (l) => l.length >= n);

const serviceClient = () => world.client.fromConnectionString(world.service);

for (const [name, transport] of Object.entries(transports)) {
  describe(name, { concurrency: 1 }, () => {
    test('device key: every system and custom property arrives', async (t) => {
      const d = await world.createDevice('props');
      const c = await open(t, world.deviceString(d), transport);
      const m = new Message(JSON.stringify({ t: 21.5 }));
      m.messageId = 'mid-1';
      m.correlationId = 'cid/ä 1';
      m.userId = 'user@example';
      m.contentType = 'application/json';
      m.contentEncoding = 'utf-8';
      m.properties.add('plain', 'value');
      m.properties.add('with space & = %', 'sign/ü?#+ %20');
      m.properties.add('empty', '');
      await c.sendEvent(m);
      const [e] = await messages(d.deviceId, 1);
      assert.equal(e.deviceId, d.deviceId);
      assert.equal(e.systemProperties['message-id'], 'mid-1');
      assert.equal(e.systemProperties['correlation-id'], 'cid/ä 1');
      assert.equal(e.systemProperties['user-id'], 'user@example');
      assert.equal(e.systemProperties['content-type'], 'application/json');
      assert.equal(e.systemProperties['content-encoding'], 'utf-8');
      assert.equal(e.annotations['iothub-connection-device-id'], d.deviceId);
      assert.equal(e.annotations['iothub-connection-auth-generation-id'], d.generationId);
      assert.equal(e.annotations['iothub-message-source'], 'Telemetry');
      assert.deepEqual(JSON.parse(e.annotations['iothub-connection-auth-method']),
        { scope: 'device', type: 'sas', issuer: 'iothub', acceptingIpFilterRule: null });
      assert.ok(Math.abs(Date.parse(e.enqueuedTime) - Date.now()) < 60000, e.enqueuedTime);
      assert.deepEqual(e.properties, { plain: 'value', 'with space & = %': 'sign/ü?#+ %20', empty: '' });
      assert.deepEqual(e.body, { t: 21.5 });
    });

    test('the rarer properties: expiry, creation time, schema, model, component, security message', async (t) => {
      const d = await world.createDevice('rare');
      const c = await open(t, world.deviceString(d), transport, Client, { modelId: 'dtmi:com:example:Thermostat;1' });
      const m = new Message('x');
      m.to = 'somewhere';
      m.expiryTimeUtc = new Date('2031-02-03T04:05:06.789Z');
      // What Message has no field for, the SDK sends when a property has its name.
      m.properties.add('iothub-creation-time-utc', '2026-01-02T03:04:05.678Z');
      m.properties.add('$.schema', 'schema-1');
      m.properties.add('dt-subject', 'thermostat1'); // how the SDK spells a component
      m.properties.add('own', 'kept');
      await c.sendEvent(m);
      const security = new Message('y');
      security.setAsSecurityMessage();
      security.properties.add('$.ctime', '2026-01-02T03:04:05Z');
      await c.sendEvent(security);
      const [e, s] = await messages(d.deviceId, 2);
      assert.equal(e.systemProperties.to, 'somewhere');
      assert.equal(e.systemProperties['absolute-expiry-time'], '2031-02-03T04:05:06.789Z');
      assert.equal(e.annotations['iothub-creation-time-utc'], '2026-01-02T03:04:05.678Z');
      assert.equal(e.annotations['iothub-message-schema'], 'schema-1');
      assert.equal(e.annotations['dt-dataschema'], 'dtmi:com:example:Thermostat;1');
      assert.equal(e.annotations['dt-subject'], 'thermostat1');
      assert.equal(e.annotations['iothub-interface-id'], undefined);
      assert.deepEqual(e.properties, { own: 'kept' });
      assert.equal(s.annotations['iothub-interface-id'], 'urn:azureiot:Security:SecurityAgent:1');
      assert.equal(s.annotations['iothub-creation-time-utc'], '2026-01-02T03:04:05Z');
      assert.deepEqual(s.properties, {});
    });

    test('empty body, a 256 KB body, refusal above it', async (t) => {
      const d = await world.createDevice('size');
      const c = await open(t, world.deviceString(d), transport);
      await c.sendEvent(new Message(''));
      const big = Buffer.alloc(256 * 1024, 'x');
      await c.sendEvent(new Message(big));
      const list = await messages(d.deviceId, 2);
      assert.equal(list[0].body, '');
      assert.ok(list[1].body === big.toString());
      // The client itself refuses a larger body.
      await assert.rejects(c.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1, 'x'))), { name: 'MessageTooLargeError' });
      // It counts the characters of a text, and no properties; the hub counts
      // the bytes of both, and can only hang up.
      c.setRetryPolicy(new NoRetry()); // else the client sends it again for four minutes
      await assert.rejects(c.sendEvent(new Message('ü'.repeat(128 * 1024) + 'x')), { name: 'NotConnectedError' });
      const many = new Message(big);
      many.properties.add('k', 'v');
      await c.open();
      await assert.rejects(c.sendEvent(many), { name: 'NotConnectedError' });
      await c.open();
      await c.sendEvent(new Message('after'));
      const all = await world.events(d.deviceId, (l) => l.some((e) => e.body === 'after'));
      assert.equal(all.length, 3, 'the oversized messages must not be stored');
    });

    test('module key: telemetry, methods and twin of a module', async (t) => {
      const d = await world.createDevice('mod');
      const m = (await world.registry.addModule({ deviceId: d.deviceId, moduleId: 'm1' })).responseBody;
      const c = await open(t, world.moduleString(m), transport, ModuleClient);
      await c.sendEvent(new Message('from module'));
      const [e] = await messages(d.deviceId, 1);
      assert.equal(e.moduleId, 'm1');
      assert.equal(e.annotations['iothub-connection-module-id'], 'm1');

      c.onMethod('ping', (req, res) => res.send(200, { got: req.payload }, () => {}));
      const s = serviceClient();
      const answer = await world.until('the module to answer', async () => {
        try {
          return (await s.invokeDeviceMethod(d.deviceId, 'm1', { methodName: 'ping', payload: 7, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10 })).result;
        } catch (err) { if (err.name !== 'NotFoundError' && !/404/.test(err.message)) throw err; }
      });
      assert.deepEqual(answer, { status: 200, payload: { got: 7 } });

      const twin = await c.getTwin();
      await new Promise((ok, no) => twin.properties.reported.update({ alive: true }, (err) => (err ? no(err) : ok())));
      const seen = (await world.registry.getModuleTwin(d.deviceId, 'm1')).responseBody;
      assert.equal(seen.properties.reported.alive, true);
      twin.on('properties.desired.mode', () => {}); // subscribes
      await world.until('the subscription to work', async () => {
        await world.registry.updateModuleTwin(d.deviceId, 'm1', { properties: { desired: { mode: 'b' } } }, '*');
        return twin.properties.desired.mode === 'b';
      });
    });

    test('shared access signature, and its renewal without loss', async (t) => {
      const d = await world.createDevice('sas');
      const keys = d.authentication.symmetricKey;
      const resource = `${world.host}/devices/${d.deviceId}`;
      const c = Client.fromSharedAccessSignature(world.sas(resource, keys.primaryKey, 600), transport);
      await c.setOptions({ ca: world.ca });
      await c.open();
      t.after(() => c.close().catch(() => {}));
      let commands = 0;
      c.on('message', (m) => { commands++; c.complete(m); });
      const sent = [];
      const sending = [];
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 20; i++) {
          const id = `${round}-${i}`;
          sent.push(id);
          sending.push(c.sendEvent(new Message(id)));
        }
        // The messages are on their way while the client changes its token.
        await c.updateSharedAccessSignature(world.sas(resource, round % 2 ? keys.primaryKey : keys.secondaryKey, 600 + round));
      }
      await Promise.all(sending);
      // What was not acknowledged in time is sent again, so that it may come twice.
      await world.events(d.deviceId, (l) => sent.every((id) => l.some((e) => e.body === id)));
      await world.command(d.deviceId, 'still subscribed');
      await world.until('a command after renewal', () => commands === 1);
    });

    test('a client with a key renews its token by itself, without loss', async (t) => {
      const d = await world.createDevice('renew');
      const c = await open(t, world.deviceString(d), transport, Client, { tokenRenewal: { tokenValidTimeInSeconds: 61, tokenRenewalMarginInSeconds: 60 } });
      let commands = 0;
      c.on('message', (m) => { commands++; c.complete(m); });
      const connected = async () => (await world.registry.get(d.deviceId)).responseBody.connectionStateUpdatedTime;
      const sent = [];
      const seen = new Set();
      await world.until('two renewals', async () => {
        sent.push(`m${sent.length}`);
        await c.sendEvent(new Message(sent.at(-1)));
        seen.add(await connected());
        return seen.size >= 3;
      });
      await world.events(d.deviceId, (l) => sent.every((id) => l.some((e) => e.body === id)));
      await world.command(d.deviceId, 'still subscribed');
      await world.until('a command after renewal', () => commands === 1);
    });

    test('X.509 by thumbprint', async (t) => {
      const id = world.unique('x509');
      const cert = await world.selfSigned(id);
      await world.registry.create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: cert.thumbprint, secondaryThumbprint: cert.thumbprint } } });
      const c = await open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: cert.cert, key: cert.key });
      await c.sendEvent(new Message('x'));
      const [e] = await messages(id, 1);
      assert.equal(JSON.parse(e.annotations['iothub-connection-auth-method']).type, 'x509');
      const other = await world.selfSigned(id);
      await assert.rejects(open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: other.cert, key: other.key }), { name: 'UnauthorizedError' });
    });

    test('X.509 by registered authority', async (t) => {
      const id = world.unique('ca');
      await world.registry.create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
      const cert = await world.caSigned(id);
      const c = await open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: cert.cert, key: cert.key });
      await c.sendEvent(new Message('x'));
      await messages(id, 1);
      const wrong = await world.caSigned(id + '-other');
      await assert.rejects(open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: wrong.cert, key: wrong.key }), { name: 'UnauthorizedError' });
    });

    test('commands are received in order and completed', async (t) => {
      const d = await world.createDevice('c2d');
      const expiry = new Date(Date.now() + 24 * 3600 * 1000).toISOString();
      await world.command(d.deviceId, 'while offline', { 'iothub-messageid': 'c-0', 'iothub-userid': 'me', 'iothub-expiry': expiry, 'iothub-app-colour': 'bläulich & rot', 'iothub-ack': 'full' });
      const c = await open(t, world.deviceString(d), transport);
      const got = [];
      c.on('message', (m) => { got.push(m); c.complete(m, () => {}); });
      await world.until('the queued command', () => got.length === 1);
      for (let i = 1; i <= 5; i++) {
        await world.command(d.deviceId, `n${i}`, { 'iothub-messageid': `c-${i}`, 'iothub-correlationid': 'k/1', 'iothub-contenttype': 'text/plain', 'iothub-contentencoding': 'utf-8' });
      }
      await world.until('all commands', () => got.length === 6);
      assert.deepEqual(got.map((m) => m.getData().toString()), ['while offline', 'n1', 'n2', 'n3', 'n4', 'n5']);
      assert.equal(got[0].messageId, 'c-0');
      assert.equal(got[0].userId, 'me');
      assert.equal(got[0].to, `/devices/${d.deviceId}/messages/deviceBound`);
      assert.equal(Date.parse(got[0].expiryTimeUtc), Date.parse(expiry));
      const properties = got[0].properties.propertyList.map(({ key, value }) => [key, value]);
      // The SDK has no field for the kind of feedback and shows it as a property.
      assert.deepEqual(Object.fromEntries(properties), { colour: 'bläulich & rot', 'iothub-ack': 'full' });
      assert.equal(got[1].correlationId, 'k/1');
      assert.equal(got[1].contentType, 'text/plain');
      assert.equal(got[1].contentEncoding, 'utf-8');
      await world.until('an empty queue', async () => (await world.commandCount(d.deviceId)) === 0);
    });

    test('direct methods: answers, statuses, offline, timeout', async (t) => {
      const d = await world.createDevice('method');
      const s = serviceClient();
      await assert.rejects(s.invokeDeviceMethod(d.deviceId, { methodName: 'x', payload: null, responseTimeoutInSeconds: 5, connectTimeoutInSeconds: 0 }), /Not found|DeviceNotOnline/);
      const c = await open(t, world.deviceString(d), transport);
      c.onDeviceMethod('echo', (req, res) => res.send(201, req.payload, () => {}));
      c.onDeviceMethod('nothing', (req, res) => res.send(500, () => {}));
      c.onDeviceMethod('silent', () => {});
      const call = (methodName, payload) => s.invokeDeviceMethod(d.deviceId, { methodName, payload, responseTimeoutInSeconds: 5, connectTimeoutInSeconds: 10 });
      const payload = { a: [1, 'zwei', null, { b: 1.25 }] };
      assert.deepEqual((await call('echo', payload)).result, { status: 201, payload });
      assert.equal((await call('nothing', null)).result.status, 500);
      await assert.rejects(call('silent', {}), { name: 'GatewayTimeoutError' });
      assert.deepEqual((await call('echo', 'again')).result, { status: 201, payload: 'again' });
    });

    test('twin: get, reported patches, desired notifications', async (t) => {
      const d = await world.createDevice('twin');
      await world.registry.updateTwin(d.deviceId, { tags: { site: 'a' }, properties: { desired: { interval: 5, nested: { a: 1, b: 2 } } } }, '*');
      const c = await open(t, world.deviceString(d), transport);
      const twin = await c.getTwin();
      assert.equal(twin.properties.desired.interval, 5);
      assert.equal(twin.properties.desired.$version, 2);
      assert.equal(twin.tags, undefined);
      const report = (patch) => new Promise((ok, no) => twin.properties.reported.update(patch, (err) => (err ? no(err) : ok())));
      await report({ fw: '1.0', list: [1, 2], deep: { x: { y: true } } });
      await report({ fw: null, deep: { x: { z: 'ü' } } });
      let service = (await world.registry.getTwin(d.deviceId)).responseBody;
      assert.deepEqual(service.properties.reported.deep, { x: { y: true, z: 'ü' } });
      assert.equal(service.properties.reported.fw, undefined);
      assert.equal(service.properties.reported.$version, 3);
      await assert.rejects(report({ 'bad.key': 1 }));
      await assert.rejects(report({ big: 'x'.repeat(5000) }));

      const deltas = [];
      twin.on('properties.desired', (delta) => deltas.push(delta));
      await world.until('the first event', () => deltas.length >= 1); // the client replays what it has
      const seen = deltas.length;
      await world.registry.updateTwin(d.deviceId, { properties: { desired: { interval: 6, nested: { b: null } } } }, '*');
      await world.until('the notification', () => deltas.length > seen);
      const delta = deltas.at(-1);
      assert.equal(delta.interval, 6);
      assert.equal(delta.nested.b, null);
      assert.equal(delta.$version, 3);
      assert.deepEqual({ ...twin.properties.desired.nested }, { a: 1 });
      service = (await world.registry.getTwin(d.deviceId)).responseBody;
      assert.equal(service.tags.site, 'a');
    });

    test('a killed and restarted server: the client comes back, nothing acknowledged is lost', async (t) => {
      const d = await world.createDevice('kill');
      const c = await open(t, world.deviceString(d), transport);
      const got = [];
      c.on('message', (m) => { got.push(m.getData().toString()); c.complete(m, () => {}); });
      c.onDeviceMethod('echo', (req, res) => res.send(200, req.payload, () => {}));
      await world.command(d.deviceId, 'before');
      await world.until('a command', () => got.includes('before'));
      const acknowledged = [];
      let n = 0;
      const send = async () => { const id = `m${n++}`; await c.sendEvent(new Message(id)); acknowledged.push(id); };
      for (let i = 0; i < 50; i++) await send();
      let back = false;
      const sending = (async () => { // the client retries by itself
        while (!back) await send();
        for (let i = 0; i < 20; i++) await send();
      })();
      await world.killAndRestart();
      back = true;
      await sending;
      const list = await world.events(d.deviceId, (l) => acknowledged.every((id) => l.some((e) => e.body === id)));
      assert.ok(list.length >= acknowledged.length);
      await world.command(d.deviceId, 'after');
      await world.until('a command after the restart', () => got.includes('after'));
      const s = serviceClient();
      const r = await s.invokeDeviceMethod(d.deviceId, { methodName: 'echo', payload: 1, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10 });
      assert.deepEqual(r.result, { status: 200, payload: 1 });
    });

    test('refusals: wrong key, unknown device, disabled device, expired token', async (t) => {
      const d = await world.createDevice('refuse');
      const wrong = Buffer.alloc(32, 1).toString('base64');
      const unauthorized = { name: 'UnauthorizedError' };
      await assert.rejects(open(t, `HostName=${world.host};DeviceId=${d.deviceId};SharedAccessKey=${wrong}`, transport), unauthorized);
      await assert.rejects(open(t, `HostName=${world.host};DeviceId=no-such-device;SharedAccessKey=${wrong}`, transport), unauthorized);
      const expired = Client.fromSharedAccessSignature(world.sas(`${world.host}/devices/${d.deviceId}`, d.authentication.symmetricKey.primaryKey, -3600), transport);
      await expired.setOptions({ ca: world.ca });
      await assert.rejects(expired.open(), unauthorized);
      const c = await open(t, world.deviceString(d), transport);
      const gone = world.once(c, 'disconnect');
      c.setRetryPolicy(new NoRetry());
      await world.registry.update({ ...d, status: 'disabled' });
      await gone;
      await assert.rejects(open(t, world.deviceString(d), transport), unauthorized);
    });
  });
}
