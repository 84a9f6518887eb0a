// Devices with azure-iot-device over HTTPS: telemetry one by one and in batches,
// polling for commands, certificates, refusals.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import http from 'azure-iot-device-http';
import * as world from './world.mjs';
import { open as openClient, messages, Client, Message } from './device.mjs';

// The transport answers setOptions only when it is told how often to poll.
const open = (t, cs, options = {}) => openClient(t, cs, http.Http, Client, { interval: 1, ...options });

describe('HTTPS devices', { concurrency: true }, () => {
  test('a message arrives with its properties', async (t) => {
    const d = await world.createDevice('https');
    const c = await open(t, world.deviceString(d));
    const m = new Message(JSON.stringify({ t: 21.5 }));
    m.messageId = 'mid-1';
    m.correlationId = 'cid/1';
    m.userId = 'user@example';
    m.contentType = 'application/json';
    m.contentEncoding = 'utf-8';
    m.properties.add('plain', 'value');
    m.properties.add('dt-subject', 'thermostat1');
    await c.sendEvent(m);
    const security = new Message('s');
    security.setAsSecurityMessage();
    await c.sendEvent(security);
    const [e, s] = await messages(d.deviceId, 2);
    assert.equal(e.systemProperties['message-id'], 'mid-1');
    assert.equal(e.systemProperties['correlation-id'], 'cid/1');
    assert.equal(e.systemProperties['user-id'], 'user@example');
    assert.equal(e.systemProperties['content-type'], 'application/json');
    assert.equal(e.systemProperties['content-encoding'], 'utf-8');
    assert.equal(e.annotations['dt-subject'], 'thermostat1');
    assert.equal(e.annotations['iothub-connection-device-id'], d.deviceId);
    assert.equal(e.annotations['iothub-connection-auth-generation-id'], d.generationId);
    assert.deepEqual(e.properties, { plain: 'value' });
    assert.deepEqual(e.body, { t: 21.5 });
    assert.equal(s.annotations['iothub-interface-id'], 'urn:azureiot:Security:SecurityAgent:1');
    // Over HTTPS nobody is connected.
    assert.equal((await world.registry.get(d.deviceId)).responseBody.connectionState, 'Disconnected');
  });

  test('a batch arrives as its messages, in order', async (t) => {
    const d = await world.createDevice('httpsbatch');
    const c = await open(t, world.deviceString(d));
    const batch = Array.from({ length: 50 }, (_, i) => {
      const m = new Message(`{"n":${i}}`);
      m.properties.add('Index', `${i}`);
      return m;
    });
    batch.push(new Message('plain text, ümlaut'));
    await c.sendEventBatch(batch);
    const l = await messages(d.deviceId, 51);
    assert.equal(l.length, 51);
    l.slice(0, 50).forEach((e, i) => assert.deepEqual(e.properties, { Index: `${i}` }));
    assert.equal(l[50].body, 'plain text, ümlaut');
  });

  test('largest message, and one byte more', async (t) => {
    const d = await world.createDevice('httpssize');
    const c = await open(t, world.deviceString(d));
    const to = `/devices/${d.deviceId}/messages/events`; // the SDK sends it along, and it counts
    await c.sendEvent(new Message(Buffer.alloc(256 * 1024 - to.length, 'x')));
    await assert.rejects(c.sendEvent(new Message(Buffer.alloc(256 * 1024 - to.length + 1, 'x'))), { name: 'MessageTooLargeError' });
    await assert.rejects(c.sendEventBatch([1, 2].map(() => new Message(Buffer.alloc(132 * 1024, 'x')))), { name: 'MessageTooLargeError' });
    await c.sendEvent(new Message('after'));
    const l = await messages(d.deviceId, 2);
    assert.equal(l[1].body, 'after');
  });

  test('commands are completed, abandoned and rejected', async (t) => {
    const d = await world.createDevice('httpsc2d');
    const c = await open(t, world.deviceString(d));
    const got = [];
    await world.command(d.deviceId, 'first', { 'iothub-messageid': 'm1', 'iothub-correlationid': 'c1', 'iothub-app-colour': 'red', 'iothub-contenttype': 'text/plain' });
    c.on('message', async (m) => {
      const body = m.getData().toString();
      got.push(m);
      if (body === 'again' && got.filter((x) => x.getData().toString() === 'again').length < 3) await c.abandon(m);
      else if (body === 'no') await c.reject(m);
      else await c.complete(m);
    });
    await world.until('the first command', () => got.length === 1);
    assert.equal(got[0].messageId, 'm1');
    assert.equal(got[0].correlationId, 'c1');
    assert.equal(got[0].properties.getValue('iothub-app-colour'), 'red'); // the SDK leaves the header's name
    await world.command(d.deviceId, 'again');
    await world.command(d.deviceId, 'no');
    await world.until('all deliveries', () => got.length === 5);
    await world.until('an empty queue', async () => (await world.commandCount(d.deviceId)) === 0);
    // What has been settled cannot be settled again.
    await assert.rejects(c.complete(got[0]));
  });

  test('certificates', async (t) => {
    for (const [kind, make] of [['selfSigned', world.selfSigned], ['certificateAuthority', world.caSigned]]) {
      const id = world.unique('httpsx509');
      const cert = await make(id);
      const authentication = { type: kind };
      if (kind === 'selfSigned') authentication.x509Thumbprint = { primaryThumbprint: cert.thumbprint };
      await world.registry.create({ deviceId: id, authentication });
      const c = await open(t, `HostName=${world.host};DeviceId=${id};x509=true`, { cert: cert.cert, key: cert.key });
      await c.sendEvent(new Message('x'));
      await c.sendEvent(new Message('y'));
      const [e] = await messages(id, 2);
      assert.equal(JSON.parse(e.annotations['iothub-connection-auth-method']).type, 'x509');
    }
  });

  test('refusals', async (t) => {
    const d = await world.createDevice('httpsrefuse');
    const wrong = world.deviceString(d).replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32, 1).toString('base64')}`);
    for (const cs of [wrong, world.deviceString(d).replace(d.deviceId, 'no-such-device')]) {
      const c = await open(t, cs);
      await assert.rejects(c.sendEvent(new Message('x')), { name: 'UnauthorizedError' });
    }
    const c = await open(t, world.deviceString(d));
    await c.sendEvent(new Message('x'));
    await world.registry.update({ ...d, status: 'disabled' });
    await assert.rejects(c.sendEvent(new Message('x')), { name: 'UnauthorizedError' });
  });

  test('a module sends and receives over plain requests', async () => {
    const d = await world.createDevice('httpsmod');
    const m = (await world.registry.addModule({ deviceId: d.deviceId, moduleId: 'm1' })).responseBody;
    const path = `${world.host}/devices/${d.deviceId}/modules/m1`;
    const token = world.sas(path, m.authentication.symmetricKey.primaryKey);
    const url = (tail) => `https://${path}/messages/${tail}?api-version=2020-09-30`;
    assert.equal((await world.request('POST', url('events'), { token, body: 'x', headers: { 'iothub-app-a': 'b' } })).status, 204);
    const [e] = await messages(d.deviceId, 1);
    assert.equal(e.moduleId, 'm1');
    assert.deepEqual(e.properties, { a: 'b' });
    const queued = await world.request('POST', url('deviceBound'), { body: 'hello' });
    assert.equal(queued.status, 204);
    const got = await world.request('GET', url('devicebound'), { token });
    assert.equal(got.status, 200);
    assert.equal(got.body.toString(), 'hello');
    const lock = got.headers.etag.slice(1, -1);
    assert.equal((await world.request('DELETE', url(`devicebound/${lock}`), { token })).status, 204);
    assert.equal((await world.request('GET', url('devicebound'), { token })).status, 204);
  });
});
