// Digital twins with azure-iothub: a device announces a model and reports, a back
// end reads, patches and invokes commands.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';
import { open, transports, Client } from './device.mjs';

const model = 'dtmi:com:example:TemperatureController;1';
const client = () => new azureIothub.DigitalTwinClient(new azureIothub.IoTHubTokenCredentials(world.service));

test('a digital twin is read, patched and acknowledged', async (t) => {
  const d = await world.createDevice('pnp');
  const c = await open(t, world.deviceString(d), transports.Mqtt.transport, Client, { modelId: model });
  const twin = await c.getTwin();
  const report = (patch) => new Promise((resolve, reject) => twin.properties.reported.update(patch, (e) => (e ? reject(e) : resolve())));
  await report({ serialNumber: 'x', thermostat1: { __t: 'c', maxTempSinceLastReboot: 38.7 } });
  const desired = world.once(twin, 'properties.desired.thermostat1');

  const dtc = client();
  const before = await dtc.getDigitalTwin(d.deviceId);
  assert.equal(before.$dtId, d.deviceId);
  assert.equal(before.$metadata.$model, model);
  assert.equal(before.serialNumber, 'x');
  assert.equal(before.thermostat1.maxTempSinceLastReboot, 38.7);

  const patched = await new Promise((resolve, reject) => {
    dtc.updateDigitalTwin(d.deviceId, [{ op: 'add', path: '/thermostat1/targetTemperature', value: 21.5 }], '*', (e, _, response) => (e ? reject(e) : resolve(response)));
  });
  assert.equal(patched.status, 202);
  assert.match(patched.headers.get('location'), /\/digitaltwins\/pnp-/);
  const wanted = await desired;
  assert.equal(wanted.__t, 'c');
  assert.equal(wanted.targetTemperature, 21.5);
  const version = twin.properties.desired.$version;
  await report({ thermostat1: { __t: 'c', targetTemperature: { value: 21.5, ac: 200, av: version, ad: 'done' } } });

  const after = await dtc.getDigitalTwin(d.deviceId);
  const { lastUpdateTime, ...meta } = after.thermostat1.$metadata.targetTemperature;
  assert.deepEqual(meta, { desiredValue: 21.5, desiredVersion: version, ackVersion: version, ackCode: 200, ackDescription: 'done' });
  assert.ok(Math.abs(Date.parse(lastUpdateTime) - Date.now()) < 60000, lastUpdateTime);
  assert.equal(after.thermostat1.targetTemperature, 21.5);

  await dtc.updateDigitalTwin(d.deviceId, [{ op: 'remove', path: '/thermostat1/targetTemperature' }, { op: 'add', path: '/interval', value: 5 }]);
  const stored = (await world.registry.getTwin(d.deviceId)).responseBody;
  assert.equal(stored.properties.desired.interval, 5);
  assert.equal(stored.properties.desired.thermostat1.targetTemperature, undefined);

  const status = (p) => p.then(() => 200, (e) => e.statusCode);
  assert.equal(await status(dtc.updateDigitalTwin(d.deviceId, [{ op: 'add', path: '/a', value: 1 }], '"AAAAAAAAAAE="')), 412);
  assert.equal(await status(dtc.updateDigitalTwin(d.deviceId, [{ op: 'move', path: '/a', from: '/b' }])), 400);
  assert.equal(await status(dtc.getDigitalTwin('no-such-device')), 404);
});

for (const name of ['Amqp', 'Mqtt']) test(`commands of the device and of a component over ${name}`, async (t) => {
  const d = await world.createDevice('pnpcmd');
  const c = await open(t, world.deviceString(d), transports[name].transport, Client, { modelId: model });
  const calls = [];
  for (const method of ['reboot', 'thermostat1*getMaxMinReport']) {
    c.onDeviceMethod(method, (req, res) => {
      calls.push([req.methodName, req.payload]);
      res.send(method === 'reboot' ? 202 : 200, { of: method });
    });
  }
  const dtc = client();
  const root = await world.until('the device to listen', () => dtc.invokeCommand(d.deviceId, 'reboot', 5, { connectTimeoutInSeconds: 10, responseTimeoutInSeconds: 10 }).catch(() => undefined));
  assert.equal(root.xMsCommandStatuscode ?? Number(root._response?.headers?.get('x-ms-command-statuscode')), 202);
  const component = await dtc.invokeComponentCommand(d.deviceId, 'thermostat1', 'getMaxMinReport', '2026-01-01T00:00:00Z');
  assert.deepEqual(calls.at(-1), ['thermostat1*getMaxMinReport', '2026-01-01T00:00:00Z']);
  assert.equal((component.body ?? component).of, 'thermostat1*getMaxMinReport');
  await assert.rejects(dtc.invokeCommand((await world.createDevice('pnpoff')).deviceId, 'reboot', {}), (e) => e.statusCode === 404);
});
