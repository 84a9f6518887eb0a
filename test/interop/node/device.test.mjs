// Devices and modules with azure-iot-device over MQTT and AMQP, on TCP and
// WebSocket. What a server that dies does to them is in restart.test.mjs.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import { transports, open, messages, serviceClient, Client, ModuleClient, Message, NoRetry, expiry } from './device.mjs';

// Each transport runs its cases one after the other, beside the others.
describe('devices', { concurrency: true }, () => Object.entries(transports).forEach(([name, { transport, amqp }]) => {
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
      // The AMQP transport forgets who the user is.
      assert.equal(e.systemProperties['user-id'], amqp ? undefined : 'user@example');
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
      m.expiryTimeUtc = expiry(amqp, new Date('2031-02-03T04:05:06.789Z'));
      // What Message has no field for, the SDK sends when a property has its name.
      m.properties.add('iothub-creation-time-utc', '2026-01-02T03:04:05.678Z');
      m.properties.add(amqp ? 'iothub-message-schema' : '$.schema', 'schema-1');
      m.properties.add('dt-subject', 'thermostat1'); // how the SDK spells a component
      m.properties.add('own', 'kept');
      await c.sendEvent(m);
      const security = new Message('y');
      security.setAsSecurityMessage();
      security.properties.add(amqp ? 'iothub-creation-time-utc' : '$.ctime', '2026-01-02T03:04:05Z');
      await c.sendEvent(security);
      const [e, s] = await messages(d.deviceId, 2);
      // The AMQP transport writes the address of its link into "to", which says nothing.
      assert.equal(e.systemProperties.to, amqp ? undefined : 'somewhere');
      assert.equal(e.systemProperties['absolute-expiry-time'], '2031-02-03T04:05:06.789Z');
      assert.equal(e.annotations['iothub-creation-time-utc'], '2026-01-02T03:04:05.678Z');
      assert.equal(e.annotations['iothub-message-schema'], 'schema-1');
      // It has no way to tell the model either.
      assert.equal(e.annotations['dt-dataschema'], amqp ? undefined : 'dtmi:com:example:Thermostat;1');
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
      // Over MQTT the client itself refuses a larger body, over AMQP the hub does.
      await assert.rejects(c.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1, 'x'))), { name: 'MessageTooLargeError' });
      // That client counts the characters of a text, and no properties; the hub
      // counts the bytes of both. Over MQTT it can only hang up, over AMQP it says why.
      c.setRetryPolicy(new NoRetry()); // else the client sends it again for four minutes
      const refused = { name: amqp ? 'MessageTooLargeError' : 'NotConnectedError' };
      await assert.rejects(c.sendEvent(new Message('ü'.repeat(128 * 1024) + 'x')), refused);
      const many = new Message(big);
      many.properties.add('k', 'v');
      await c.open();
      await assert.rejects(c.sendEvent(many), refused);
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

    test('outputs of a module', async (t) => {
      const d = await world.createDevice('out');
      const m = (await world.registry.addModule({ deviceId: d.deviceId, moduleId: 'm1' })).responseBody;
      const c = await open(t, world.moduleString(m), transport, ModuleClient);
      const out = new Message('out');
      out.properties.add('k', 'v');
      await c.sendOutputEvent('alerts', out);
      const [e] = await messages(d.deviceId, 1);
      assert.equal(e.body, 'out');
      assert.equal(e.moduleId, 'm1');
      assert.equal(e.properties.k, 'v');
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
      // Over MQTT the client connects again with each token; over AMQP it must
      // not: there the time tells when the client has renewed.
      const end = Date.now() + 2500;
      await world.until('two renewals', async () => {
        sent.push(`m${sent.length}`);
        await c.sendEvent(new Message(sent.at(-1)));
        seen.add(await connected());
        return amqp ? Date.now() > end : seen.size >= 3;
      });
      if (amqp) assert.equal(seen.size, 1, 'the connection must outlive its tokens');
      await world.events(d.deviceId, (l) => sent.every((id) => l.some((e) => e.body === id)));
      await world.command(d.deviceId, 'still subscribed');
      await world.until('a command after renewal', () => commands === 1);
      if (!amqp) return;
      // The hub looks at each token: one of a key that is gone ends the connection.
      const gone = world.once(c, 'disconnect');
      const { primaryKey, secondaryKey } = d.authentication.symmetricKey;
      const other = Buffer.alloc(32, 9).toString('base64');
      await world.registry.update({ ...d, authentication: { type: 'sas', symmetricKey: { primaryKey: other, secondaryKey } } });
      assert.notEqual(primaryKey, other);
      await gone;
    });

    /** refused checks that a certificate does not let a device in. */
    async function refused(t, id, { cert, key }) {
      const opening = open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert, key });
      const unauthorized = { name: 'UnauthorizedError' };
      if (!amqp) return assert.rejects(opening, unauthorized);
      // Over AMQP nobody says who the device is before there is a link.
      const c = await opening;
      await assert.rejects(c.sendEvent(new Message('x')), unauthorized);
    }

    test('X.509 by thumbprint', async (t) => {
      const id = world.unique('x509');
      const cert = await world.selfSigned(id);
      await world.registry.create({ deviceId: id, authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: cert.thumbprint, secondaryThumbprint: cert.thumbprint } } });
      const c = await open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: cert.cert, key: cert.key });
      await c.sendEvent(new Message('x'));
      const [e] = await messages(id, 1);
      assert.equal(JSON.parse(e.annotations['iothub-connection-auth-method']).type, 'x509');
      await refused(t, id, await world.selfSigned(id));
    });

    test('X.509 by registered authority', async (t) => {
      const id = world.unique('ca');
      await world.registry.create({ deviceId: id, authentication: { type: 'certificateAuthority' } });
      const cert = await world.caSigned(id);
      const c = await open(t, `HostName=${world.host};DeviceId=${id};x509=true`, transport, Client, { cert: cert.cert, key: cert.key });
      await c.sendEvent(new Message('x'));
      await messages(id, 1);
      await refused(t, id, await world.caSigned(id + '-other'));
    });

    test('commands are received in order and completed', async (t) => {
      const d = await world.createDevice('c2d');
      const until = new Date(Date.now() + 24 * 3600 * 1000).toISOString();
      await world.command(d.deviceId, 'while offline', { 'iothub-messageid': 'c-0', 'iothub-userid': 'me', 'iothub-expiry': until, 'iothub-app-colour': 'bläulich & rot', 'iothub-ack': 'full' });
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
      assert.equal(got[0].to.toLowerCase(), `/devices/${d.deviceId}/messages/devicebound`);
      assert.equal(new Date(got[0].expiryTimeUtc).getTime(), Date.parse(until));
      const properties = Object.fromEntries(got[0].properties.propertyList.map(({ key, value }) => [key, value]));
      if (amqp) {
        // Again no user; it is in the message that the SDK was given.
        assert.equal(got[0].transportObj.user_id.toString(), 'me');
        assert.equal(got[0].ack, 'full');
        assert.deepEqual(properties, { colour: 'bläulich & rot' });
      } else {
        assert.equal(got[0].userId, 'me');
        // The MQTT transport has no field for the kind of feedback and shows it as a property.
        assert.deepEqual(properties, { colour: 'bläulich & rot', 'iothub-ack': 'full' });
      }
      assert.equal(got[1].correlationId, 'k/1');
      assert.equal(got[1].contentType, 'text/plain');
      assert.equal(got[1].contentEncoding, 'utf-8');
      await world.until('an empty queue', async () => (await world.commandCount(d.deviceId)) === 0);
    });

    test('commands are abandoned and rejected', { skip: amqp ? false : 'MQTT has no way to say so, and the SDK throws' }, async (t) => {
      const d = await world.createDevice('settle');
      const c = await open(t, world.deviceString(d), transport);
      const got = [];
      c.on('message', (m) => {
        got.push(m);
        if (m.getData().toString() === 'again' && got.length < 3) c.abandon(m);
        else if (m.getData().toString() === 'no') c.reject(m);
        else c.complete(m);
      });
      await world.command(d.deviceId, 'again');
      await world.until('the third delivery', () => got.length === 3);
      // The third, two abandoned ones before it.
      assert.deepEqual(got.map((m) => Number(m.transportObj.message_annotations['iothub-deliverycount'])), [0, 1, 2]);
      assert.equal(new Set(got.map((m) => m.transportObj.message_annotations['x-opt-sequence-number']?.toString())).size, 1);
      await world.command(d.deviceId, 'no');
      await world.until('the refused command', () => got.length === 4);
      await world.until('an empty queue', async () => (await world.commandCount(d.deviceId)) === 0);
      await world.command(d.deviceId, 'last');
      await world.until('the last command', () => got.length === 5);
      assert.equal(got[4].getData().toString(), 'last');
    });

    test('commands that nobody settled come again', { skip: amqp ? false : 'the MQTT library acknowledges by itself' }, async (t) => {
      const d = await world.createDevice('unsettled');
      const first = await open(t, world.deviceString(d), transport);
      const got = [];
      first.on('message', (m) => got.push(m.getData().toString()));
      for (const body of ['1', '2', '3']) await world.command(d.deviceId, body);
      await world.until('the commands', () => got.length === 3);
      await first.close();
      const second = await open(t, world.deviceString(d), transport);
      const again = [];
      second.on('message', (m) => { again.push(m.getData().toString()); second.complete(m); });
      await world.until('the commands again', () => again.length === 3);
      assert.deepEqual(again, ['1', '2', '3']);
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

    test('a second client of a device takes over', async (t) => {
      const d = await world.createDevice('takeover');
      const first = await open(t, world.deviceString(d), transport);
      first.setRetryPolicy(new NoRetry()); // else both fight for ever
      let old = 0;
      first.on('message', (m) => { old++; first.complete(m, () => {}); });
      await first.sendEvent(new Message('first'));
      const gone = world.once(first, 'disconnect');
      const second = await open(t, world.deviceString(d), transport);
      await second.sendEvent(new Message('second'));
      await gone;
      const got = [];
      second.on('message', (m) => { got.push(m.getData().toString()); second.complete(m, () => {}); });
      await world.command(d.deviceId, 'for the second');
      await world.until('the command', () => got.length === 1);
      assert.equal(old, 0);
      await messages(d.deviceId, 2);
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
      await c.sendEvent(new Message('x')); // over AMQP there is a link from now on, which the hub can end
      const gone = world.once(c, 'disconnect');
      c.setRetryPolicy(new NoRetry());
      await world.registry.update({ ...d, status: 'disabled' });
      await gone;
      await assert.rejects(open(t, world.deviceString(d), transport), unauthorized);
    });
  });
}));
