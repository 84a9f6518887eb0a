// Bulk operations with azure-iothub: add, update, remove; failures; rotation.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';

const { registry } = world;

test('bulk: add, update, remove 100 devices', async () => {
  const prefix = world.unique('bulk');
  const devices = Array.from({ length: 100 }, (_, i) => ({ deviceId: `${prefix}-${i}`, status: 'enabled' }));
  let r = (await registry.addDevices(devices)).responseBody;
  assert.equal(r.isSuccessful, true);
  assert.deepEqual(r.errors, []);
  const one = (await registry.get(`${prefix}-42`)).responseBody;
  assert.equal(Buffer.from(one.authentication.symmetricKey.primaryKey, 'base64').length, 32);

  r = (await registry.updateDevices(devices.map((d) => ({ ...d, status: 'disabled', statusReason: 'bulk' })), true)).responseBody;
  assert.equal(r.isSuccessful, true);
  const updated = (await registry.get(`${prefix}-42`)).responseBody;
  assert.equal(updated.status, 'disabled');
  assert.equal(updated.statusReason, 'bulk');

  r = (await registry.removeDevices(devices, true)).responseBody;
  assert.equal(r.isSuccessful, true);
  await assert.rejects(registry.get(`${prefix}-42`), { name: 'DeviceNotFoundError' });
});

test('bulk: what fails is told of, the rest is done', async () => {
  const [a, b] = [world.unique('bulk'), world.unique('bulk')];
  await registry.create({ deviceId: a });
  // The SDK makes an error of the status; the result is its response body.
  const err = await registry.addDevices([{ deviceId: a }, { deviceId: b }]).then(() => null, (e) => e);
  assert.equal(err?.name, 'ArgumentError');
  assert.equal(err.response.statusCode, 400);
  assert.equal(err.response.headers.iothuberrorcode, 'BulkRegistryOperationFailure');
  const result = JSON.parse(err.responseBody);
  assert.equal(result.isSuccessful, false);
  assert.deepEqual(result.errors.map((e) => [e.deviceId, e.errorCode, e.operation]), [[a, 'DeviceAlreadyExists', 'register']]);
  assert.equal((await registry.get(b)).responseBody.deviceId, b);

  const stale = await registry.updateDevices([{ deviceId: b, eTag: 'c3RhbGU=', status: 'disabled' }], false).then(() => null, (e) => e);
  assert.equal(JSON.parse(stale.responseBody).errors[0].errorCode, 'PreconditionFailed');
});

test('rotated keys are the new ones', async () => {
  const d = world.unique('rotate');
  const was = (await registry.create({ deviceId: d })).responseBody.authentication.symmetricKey;
  const res = await world.request('POST', `https://${world.host}/devices/keys/regenerate?api-version=2024-03-31`, {
    token: world.ownerToken(), headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ policyKey: 'swap', devices: [{ id: d }, { id: 'nobody' }] }),
  });
  assert.equal(res.status, 200);
  const body = JSON.parse(res.body);
  assert.deepEqual(body.rotatedKeys, [{ id: d, moduleId: null, primaryKey: was.secondaryKey, secondaryKey: was.primaryKey }]);
  assert.equal(body.errors[0].errorCode, 'DeviceNotFound');
  assert.equal((await registry.get(d)).responseBody.authentication.symmetricKey.primaryKey, was.secondaryKey);
});
