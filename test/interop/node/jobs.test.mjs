// Scheduled jobs with azure-iothub: twins, methods, results, cancel, lists.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';
import { open, transports } from './device.mjs';

const { JobClient } = azureIothub;
const jobs = JobClient.fromConnectionString(world.service);
const { registry } = world;

/** ended resolves to a job once it has ended. */
async function ended(id, timeoutMs = 30000) {
  for (const until = Date.now() + timeoutMs; Date.now() < until;) {
    const { jobStatus } = await jobs.getJob(id);
    if (['completed', 'failed', 'cancelled'].includes(jobStatus.status)) return jobStatus;
    await new Promise((r) => setTimeout(r, 100));
  }
  throw new Error(`job ${id} does not end`);
}

test('jobs: update twins of those that fit', async () => {
  const site = world.unique('site');
  const [a, b, c] = [world.unique('job'), world.unique('job'), world.unique('job')];
  for (const [d, tags] of [[a, { site }], [b, { site }], [c, { site: 'elsewhere' }]]) {
    await registry.create({ deviceId: d });
    await registry.updateTwin(d, { tags }, '*');
  }
  const id = world.unique('job');
  const patch = { etag: '*', properties: { desired: { interval: 30 } }, tags: { touched: true } };
  const { jobStatus } = await jobs.scheduleTwinUpdate(id, `tags.site = '${site}'`, patch, new Date(), 300);
  assert.equal(jobStatus.jobId, id);
  assert.equal(jobStatus.type, 'scheduleUpdateTwin');
  const done = await ended(id);
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.deviceJobStatistics, { deviceCount: 2, failedCount: 0, succeededCount: 2, runningCount: 0, pendingCount: 0 });
  for (const [d, want] of [[a, 30], [b, 30], [c, undefined]]) {
    assert.equal((await registry.getTwin(d)).responseBody.properties.desired.interval, want);
  }
  // What happened to each device is found by a query.
  const rows = (await registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}'`, 10).next()).result;
  assert.deepEqual(rows.map((r) => [r.deviceId, r.status, r.jobType]).sort(), [a, b].sort().map((d) => [d, 'completed', 'scheduleUpdateTwin']));
});

test('jobs: call a method of those that are there, and of those that come', async (t) => {
  const devices = [await world.createDevice('job'), await world.createDevice('job'), await world.createDevice('job')];
  const [here, late, away] = devices.map((d) => d.deviceId);
  const connect = (d) => open(t, world.deviceString(d), transports.Mqtt.transport);
  const answer = (dev) => dev.onDeviceMethod('reboot', (req, res) => res.send(207, { got: req.payload }, () => {}));
  answer(await connect(devices[0]));
  const id = world.unique('job');
  await jobs.scheduleDeviceMethod(id, `deviceId IN ['${here}','${late}','${away}']`,
    { methodName: 'reboot', payload: { delay: 5 }, responseTimeoutInSeconds: 10 }, new Date(), 12);
  answer(await connect(devices[1]));
  const done = await ended(id);
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.deviceJobStatistics, { deviceCount: 3, failedCount: 1, succeededCount: 2, runningCount: 0, pendingCount: 0 });
  const rows = (await registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}'`).next()).result;
  const by = Object.fromEntries(rows.map((r) => [r.deviceId, r]));
  for (const d of [here, late]) {
    assert.deepEqual(by[d].outcome.deviceMethodResponse, { status: 207, payload: { got: { delay: 5 } } });
  }
  assert.equal(by[away].status, 'failed');
  assert.equal(by[away].error.code, 'DeviceNotOnline');
});

test('jobs: cancel, lists in pages, typed errors', async () => {
  const ids = Array.from({ length: 3 }, () => world.unique('job'));
  for (const id of ids) {
    await jobs.scheduleTwinUpdate(id, '*', { tags: { later: 1 } }, new Date(Date.now() + 3600_000), 60);
    assert.equal((await jobs.getJob(id)).jobStatus.status, 'scheduled');
  }
  const seen = [];
  const q = jobs.createQuery('scheduleUpdateTwin', 'scheduled', 2);
  // Asked without a token, the SDK begins anew each time.
  while (q.hasMoreResults) seen.push(...(await q.next(q.continuationToken)).result.map((j) => j.jobId));
  for (const id of ids) assert.ok(seen.includes(id), `${id} in ${seen}`);
  for (const id of ids) {
    assert.equal((await jobs.cancelJob(id)).jobStatus.status, 'cancelled');
    assert.equal((await jobs.getJob(id)).jobStatus.status, 'cancelled');
  }
  await assert.rejects(jobs.scheduleTwinUpdate(ids[0], '*', { tags: {} }, new Date(), 60), (e) => e.response.statusCode === 409);
  await assert.rejects(jobs.scheduleTwinUpdate(world.unique('job'), 'tags.a ==', { tags: {} }, new Date(), 60), (e) => e.response.statusCode === 400);
  await assert.rejects(jobs.getJob('nobody'), (e) => e.response.statusCode === 404);
});
