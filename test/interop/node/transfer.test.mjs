// Imports and exports of identities with azure-iothub, by the hub's own storage.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';

const { registry } = world;

/** ended resolves to a job once it has ended. */
const ended = (id) => world.until(`job ${id}`, async () => {
  const j = await registry.getJob(id);
  return ['completed', 'failed', 'cancelled'].includes(j.status) && j;
}, 60000);

test('export and import: identities with their twins', async () => {
  const c = await world.container('transfer');
  const d = await world.createDevice('transfer');
  await registry.updateTwin(d.deviceId, { tags: { site: 'north' }, properties: { desired: { a: 1 } } }, '*');

  const created = await registry.exportDevicesToBlob(c.uri, false);
  assert.equal(created.type, 'export');
  assert.equal((await ended(created.jobId)).status, 'completed');
  const lines = (await c.get('devices.txt')).trim().split('\n').map((l) => JSON.parse(l));
  const line = lines.find((l) => l.id === d.deviceId);
  assert.equal(line.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.primaryKey);
  assert.equal(line.tags.site, 'north');
  assert.equal(line.properties.desired.a, 1);

  // A device of the file, as it was, and another that is wrong.
  await registry.delete(d.deviceId);
  await c.put('devices.txt', `${JSON.stringify(line)}\n${JSON.stringify({ id: 'nobody', importMode: 'update' })}\n`);
  const job = await registry.importDevicesFromBlob(c.uri, c.uri);
  const done = await ended(job.jobId);
  assert.equal(done.status, 'completed');
  assert.equal(done.progress, 100);
  const back = (await registry.get(d.deviceId)).responseBody;
  assert.equal(back.authentication.symmetricKey.primaryKey, d.authentication.symmetricKey.primaryKey);
  assert.equal((await registry.getTwin(d.deviceId)).responseBody.tags.site, 'north');
  const errors = (await c.get('importErrors.log')).trim().split('\n').map((l) => JSON.parse(l));
  assert.deepEqual(errors.map((e) => [e.id, e.errorCode]), [['nobody', 'DeviceNotFound']]);

  const all = (await registry.listJobs()).responseBody;
  for (const id of [created.jobId, job.jobId]) assert.ok(all.some((j) => j.jobId === id));
  await registry.cancelJob(job.jobId); // has ended: stays as it is
  assert.equal((await registry.getJob(job.jobId)).status, 'completed');
});

test('export: without keys; a container that does not let', async () => {
  const c = await world.container('transfer');
  const d = await world.createDevice('transfer');
  const job = await registry.exportDevicesToBlob(c.uri, true);
  assert.equal((await ended(job.jobId)).status, 'completed');
  assert.ok(!(await c.get('devices.txt')).includes(d.authentication.symmetricKey.primaryKey));
  await assert.rejects(registry.exportDevicesToBlob(c.uri.replace(/sig=[^&]*/, 'sig=AAAA'), true), (e) => e.response.statusCode === 400);
});
