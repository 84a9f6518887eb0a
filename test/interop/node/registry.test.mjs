// Back ends with azure-iothub: registry, modules, twins, methods, typed errors.
import { test, before } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';

const { Registry, Client } = azureIothub;
const registry = Registry.fromConnectionString(world.owner);
let id;
before(() => { id = world.unique('reg'); });

test('devices: create, get, list, update, delete', async () => {
  const created = (await registry.create({ deviceId: id, statusReason: 'new' })).responseBody;
  assert.equal(created.deviceId, id);
  assert.equal(created.status, 'enabled');
  assert.equal(created.connectionState, 'Disconnected');
  assert.equal(Buffer.from(created.authentication.symmetricKey.primaryKey, 'base64').length, 32);
  assert.equal(created.capabilities.iotEdge, false);

  const got = (await registry.get(id)).responseBody;
  assert.deepEqual(got, created);

  const all = (await registry.list()).responseBody;
  assert.ok(all.some((d) => d.deviceId === id));

  const updated = (await registry.update({ ...got, status: 'disabled', statusReason: 'maintenance' })).responseBody;
  assert.equal(updated.status, 'disabled');
  assert.equal(updated.statusReason, 'maintenance');
  assert.notEqual(updated.etag, got.etag);
  assert.equal(updated.generationId, got.generationId);
  assert.equal(updated.authentication.symmetricKey.primaryKey, got.authentication.symmetricKey.primaryKey);

  await registry.delete(id);
  await assert.rejects(registry.get(id), { name: 'DeviceNotFoundError' });
});

test('given keys and thumbprints are kept', async () => {
  const d = world.unique('keys');
  const primaryKey = Buffer.alloc(32, 7).toString('base64');
  const secondaryKey = Buffer.alloc(32, 8).toString('base64');
  const c = (await registry.create({ deviceId: d, authentication: { type: 'sas', symmetricKey: { primaryKey, secondaryKey } } })).responseBody;
  assert.deepEqual(c.authentication.symmetricKey, { primaryKey, secondaryKey });
  const x = world.unique('thumb');
  const thumbprint = 'AB'.repeat(20);
  const y = (await registry.create({ deviceId: x, authentication: { x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: thumbprint } } })).responseBody;
  assert.equal(y.authentication.type, 'selfSigned');
  assert.equal(y.authentication.x509Thumbprint.primaryThumbprint.toUpperCase(), thumbprint);
});

test('an edge device gets its system modules and a scope', async () => {
  const d = world.unique('edge');
  const created = (await registry.create({ deviceId: d, capabilities: { iotEdge: true } })).responseBody;
  assert.match(created.deviceScope, new RegExp(`^ms-azure-iot-edge://${d}-\\d+$`));
  const modules = (await registry.getModulesOnDevice(d)).responseBody.map((m) => m.moduleId).sort();
  assert.deepEqual(modules, ['$edgeAgent', '$edgeHub']);
  const leaf = (await registry.create({ deviceId: world.unique('leaf'), deviceScope: created.deviceScope })).responseBody;
  assert.equal(leaf.deviceScope, created.deviceScope);
});

test('modules: create, get, list, update, delete', async () => {
  const d = world.unique('mods');
  await registry.create({ deviceId: d });
  const m = (await registry.addModule({ deviceId: d, moduleId: 'one', managedBy: 'me' })).responseBody;
  assert.equal(m.moduleId, 'one');
  assert.equal((await registry.getModule(d, 'one')).responseBody.managedBy, 'me');
  await registry.addModule({ deviceId: d, moduleId: 'two' });
  assert.equal((await registry.getModulesOnDevice(d)).responseBody.length, 2);
  const u = (await registry.updateModule({ ...m, managedBy: 'you' })).responseBody;
  assert.equal(u.managedBy, 'you');
  await assert.rejects(registry.updateModule({ ...m, managedBy: 'late' }), { name: 'InvalidEtagError' });
  assert.equal((await registry.updateModule({ ...m, managedBy: 'forced' }, true)).responseBody.managedBy, 'forced');
  await registry.removeModule(d, 'two');
  assert.equal((await registry.getModulesOnDevice(d)).responseBody.length, 1);
  await assert.rejects(registry.addModule({ deviceId: d, moduleId: 'one' }), { name: 'DeviceAlreadyExistsError' });
});

test('twins: get, patch, replace, etags', async () => {
  const d = world.unique('twin');
  await registry.create({ deviceId: d });
  const twin = (await registry.getTwin(d)).responseBody;
  assert.equal(twin.deviceId, d);
  assert.equal(twin.properties.desired.$version, 1);
  assert.deepEqual({ ...twin.tags }, {});

  const patched = (await registry.updateTwin(d, { tags: { a: { b: 1 } }, properties: { desired: { x: 1, y: [1, { z: 2 }] } } }, twin.etag)).responseBody;
  assert.deepEqual(patched.tags, { a: { b: 1 } });
  assert.deepEqual(patched.properties.desired.y, [1, { z: 2 }]);
  assert.equal(patched.properties.desired.$version, 2);
  assert.ok(patched.properties.desired.$metadata.x.$lastUpdated);
  assert.notEqual(patched.etag, twin.etag);
  assert.equal(patched.version, twin.version + 1);

  await assert.rejects(registry.updateTwin(d, { tags: { late: true } }, twin.etag), { name: 'InvalidEtagError' });

  const replaced = (await registry.updateTwin(d, { tags: { a: null, c: 'ü' }, properties: { desired: { x: null } } }, '*')).responseBody;
  assert.deepEqual(replaced.tags, { c: 'ü' });
  assert.equal('x' in replaced.properties.desired, false);
});

test('module twins: get, patch, etags', async () => {
  const d = world.unique('mtwin');
  await registry.create({ deviceId: d });
  await registry.addModule({ deviceId: d, moduleId: 'one' });
  const twin = (await registry.getModuleTwin(d, 'one')).responseBody;
  assert.equal(twin.moduleId, 'one');
  const patched = (await registry.updateModuleTwin(d, 'one', { tags: { a: 1 }, properties: { desired: { x: 1 } } }, twin.etag)).responseBody;
  assert.deepEqual(patched.tags, { a: 1 });
  assert.equal(patched.properties.desired.x, 1);
  await assert.rejects(registry.updateModuleTwin(d, 'one', { tags: { late: true } }, twin.etag), { name: 'InvalidEtagError' });
  assert.deepEqual({ ...(await registry.getTwin(d)).responseBody.tags }, {}, 'the twin of the device is another one');
  await assert.rejects(registry.getModuleTwin(d, 'none'), (e) => e.response.statusCode === 404);
});

test('method invocation: its errors', async () => {
  const d = world.unique('call');
  await registry.create({ deviceId: d });
  const c = Client.fromConnectionString(world.service);
  const call = { methodName: 'x', payload: null, responseTimeoutInSeconds: 5, connectTimeoutInSeconds: 0 };
  const status = (code) => (e) => e.response.statusCode === code;
  await assert.rejects(c.invokeDeviceMethod(d, call), status(404));
  await assert.rejects(c.invokeDeviceMethod('no-such-device', call), status(404));
  await assert.rejects(c.invokeDeviceMethod(d, 'no-such-module', call), status(404));
  await assert.rejects(c.invokeDeviceMethod(d, { ...call, payload: 'x'.repeat(200 * 1024) }), (e) => e.response.statusCode >= 400 && e.response.statusCode < 500);
});

test('typed errors: 404, 409, 412, 401', async () => {
  await assert.rejects(registry.get('no-such-device'), { name: 'DeviceNotFoundError' });
  await assert.rejects(registry.getTwin('no-such-device'), (e) => e.response.statusCode === 404);
  const d = world.unique('conflict');
  const c = (await registry.create({ deviceId: d })).responseBody;
  await assert.rejects(registry.create({ deviceId: d }), { name: 'DeviceAlreadyExistsError' });
  await assert.rejects(registry.updateTwin(d, { tags: {} }, 'AAAAAAAAAP8='), { name: 'InvalidEtagError' });
  void c;
  const wrong = world.owner.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32, 3).toString('base64')}`);
  await assert.rejects(Registry.fromConnectionString(wrong).get(d), { name: 'UnauthorizedError' });
  await assert.rejects(Client.fromConnectionString(wrong).invokeDeviceMethod(d, { methodName: 'x', responseTimeoutInSeconds: 5 }), { name: 'UnauthorizedError' });
  await assert.rejects(registry.create({ deviceId: 'bad id with spaces' }), { name: 'ArgumentError' });
  // The service policy may not write the registry.
  await assert.rejects(Registry.fromConnectionString(world.service).create({ deviceId: world.unique('no') }), { name: 'UnauthorizedError' });
});

test('statistics', async () => {
  const s = (await registry.getRegistryStatistics()).responseBody;
  assert.equal(s.totalDeviceCount, s.enabledDeviceCount + s.disabledDeviceCount);
});
