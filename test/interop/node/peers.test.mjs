// Clients without an SDK of their own, as command line tools and samples are:
// rhea, with what those send.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import rhea from 'rhea';
import * as eventHubs from '@azure/event-hubs';
import * as world from './world.mjs';
import { transports, open, Client, Message } from './device.mjs';

/** connect resolves to a connection that has been opened. */
function connect(t, options) {
  const c = rhea.create_container().connect({ host: world.host, hostname: world.host, port: 5671, transport: 'tls', ca: world.ca, reconnect: false, ...options });
  c.on('error', () => {});
  t.after(() => c.close());
  return new Promise((resolve, reject) => {
    c.on('connection_open', () => resolve(c));
    c.on('connection_error', (x) => reject(x.connection.error));
    c.on('connection_close', (x) => reject(x.connection.error ?? new Error('closed')));
    c.on('disconnected', (x) => reject(x.error ?? new Error('disconnected')));
  });
}

const hubName = world.host.split('.')[0];

/** plain are the credentials of the Azure CLI: a token as a password. */
function plain(cs, ttl = 3600) {
  const p = world.parts(cs);
  return { username: `${p.SharedAccessKeyName}@sas.root.${hubName}`, password: world.sas(p.HostName, p.SharedAccessKey, ttl, p.SharedAccessKeyName) };
}

/** detached resolves to the error with which the hub ends a link. */
const detached = (link) => new Promise((resolve) => {
  const name = link.is_receiver() ? 'receiver' : 'sender';
  let error;
  link.on(`${name}_error`, (x) => { error = x[name].error; });
  link.on(`${name}_close`, () => resolve(error));
});

describe('SASL PLAIN with a token', () => {
  test('a command is sent', async (t) => {
    const d = await world.createDevice('plain');
    const device = await open(t, world.deviceString(d), transports.Amqp.transport);
    const got = [];
    device.on('message', (m) => { got.push(m); device.complete(m); });
    const c = await connect(t, plain(world.service));
    const sender = c.open_sender(`amqps://${world.host}:5671/messages/devicebound`);
    const outcome = new Promise((resolve, reject) => {
      sender.on('accepted', resolve);
      sender.on('rejected', (x) => reject(x.delivery.remote_state.error));
    });
    await new Promise((resolve) => { sender.on('sendable', resolve); });
    sender.send({ message_id: 'cli-1', to: `/devices/${d.deviceId}/messages/devicebound`, body: rhea.message.data_section(Buffer.from('hello')), application_properties: { k: 'v' } });
    await outcome;
    await world.until('the command', () => got.length === 1);
    assert.equal(got[0].getData().toString(), 'hello');
    assert.equal(got[0].messageId, 'cli-1');
  });

  test('wrong key, expired, unknown policy: refused', async (t) => {
    const p = world.parts(world.service);
    const wrong = Buffer.alloc(32, 1).toString('base64');
    const { username, password } = plain(world.service);
    for (const [what, credentials] of Object.entries({
      'wrong key': { username, password: world.sas(p.HostName, wrong, 3600, p.SharedAccessKeyName) },
      expired: plain(world.service, -3600),
      'unknown policy': { username: `nobody@sas.root.${hubName}`, password },
      'no token': { username, password: 'secret' },
    })) await assert.rejects(connect(t, credentials), undefined, what);
  });

  test('a policy without the right may connect, but not send', async (t) => {
    const c = await connect(t, plain(await world.policy('registryRead')));
    const error = await detached(c.open_sender('/messages/devicebound'));
    assert.equal(error.condition, 'amqp:unauthorized-access');
  });
});

describe('the redirect to the events', () => {
  // What the Azure CLI and the samples do: attach on the hub, and read where to
  // go from the error.
  async function redirect(t, address) {
    const c = await connect(t, plain(world.service));
    const error = await detached(c.open_receiver(address));
    assert.equal(error.condition, 'amqp:link:redirect');
    return error.info;
  }

  test('addresses of the redirect', async (t) => {
    const { EntityPath } = world.parts(world.eventsString);
    for (const [asked, rest] of [
      ['messages/events/', ''], ['/messages/events/$management', '$management'],
      [`amqps://${world.host}/messages/events/`, ''],
      ['/messages/events/ConsumerGroups/$Default/Partitions/0', 'ConsumerGroups/$Default/Partitions/0'],
    ]) {
      const info = await redirect(t, asked);
      assert.equal(info.hostname, new URL(world.parts(world.eventsString).Endpoint.replace('sb:', 'https:')).hostname);
      assert.equal(info['network-host'], info.hostname);
      assert.equal(Number(info.port), 5671);
      assert.equal(info.address, `amqps://${info.hostname}:5671/${EntityPath}/${rest}`, asked);
      // The regular expressions of IoT Explorer and of the Go client's sample.
      if (rest === '$management') assert.equal(/:\d+\/(.*)\/\$management/.exec(info.address)[1], EntityPath);
    }
  });

  test('reading with what the redirect said', async (t) => {
    const d = await world.createDevice('redirect');
    const device = await open(t, world.deviceString(d), transports.Mqtt.transport, Client);
    await device.sendEvent(new Message('found'));
    const info = await redirect(t, 'messages/events/');
    const p = world.parts(world.service);
    const entity = info.address.slice(0, -1).split(':5671/')[1];
    const cs = `Endpoint=sb://${info.hostname}/;EntityPath=${entity};SharedAccessKeyName=${p.SharedAccessKeyName};SharedAccessKey=${p.SharedAccessKey}`;
    const reader = new eventHubs.EventHubConsumerClient('$Default', cs);
    const got = [];
    const s = reader.subscribe({
      processEvents: async (events) => { got.push(...events); },
      processError: async (err) => { got.push(err); },
    }, { startPosition: eventHubs.earliestEventPosition, maxWaitTimeInSeconds: 1 });
    t.after(async () => {
      await s.close();
      await world.closed(reader);
    });
    await world.until('the event', () => got.some((e) => e.systemProperties?.['iothub-connection-device-id'] === d.deviceId));
  });

  test('a device is not told', async (t) => {
    const d = await world.createDevice('nosy');
    const c = await connect(t, {
      username: `${d.deviceId}@sas.${hubName}`,
      password: world.sas(`${world.host}/devices/${d.deviceId}`, d.authentication.symmetricKey.primaryKey),
    });
    const error = await detached(c.open_receiver('messages/events/'));
    assert.equal(error.condition, 'amqp:unauthorized-access');
  });
});
