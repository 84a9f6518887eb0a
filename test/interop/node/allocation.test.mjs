// Which hub a device gets, and what becomes of it when it registers again: the
// policies of allocation and of provisioning again, with
// azure-iot-provisioning-service and azure-iot-provisioning-device over HTTPS. The
// device sends to the hub that it got.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';
import { back, byKey as over, derived, enroll, enrollment, transports, webhook } from './provisioning.mjs';
import { open, transports as hubTransports, Message } from './device.mjs';

const hubs = {
  [world.host]: { name: 'localhost', connectionString: world.owner, registry: world.registry },
  [world.second.host]: { ...world.second, registry: azureIothub.Registry.fromConnectionString(world.second.connectionString) },
};
const both = Object.keys(hubs);
const byKey = (id, key, payload) => over(transports.Http, id, key, { payload });

/** sends has a device send a message to the hub that it was assigned to. */
async function sends(t, result, key) {
  const c = await open(t, `HostName=${result.assignedHub};DeviceId=${result.deviceId};SharedAccessKey=${key}`, hubTransports.Mqtt.transport);
  await c.sendEvent(new Message(`"from ${result.deviceId}"`));
  await world.events(result.deviceId, (l) => l.length >= 1, 20000, hubs[result.assignedHub]);
}

const twin = async (host, id) => (await hubs[host].registry.getTwin(id)).responseBody;
const gone = (host, id) => assert.rejects(hubs[host].registry.get(id), (err) => err.name === 'DeviceNotFoundError');

/** change changes an enrollment. */
async function change(id, how) {
  const { responseBody: e } = await back.getIndividualEnrollment(id);
  return (await back.createOrUpdateIndividualEnrollment({ ...e, ...how })).responseBody;
}

describe('allocation', { concurrency: true }, () => {
  test('allocation: hashed, among the hubs of the enrollment', async (t) => {
    const group = world.unique('hashed');
    const { responseBody: g } = await back.createOrUpdateEnrollmentGroup({
      enrollmentGroupId: group, attestation: { type: 'symmetricKey' }, allocationPolicy: 'hashed', iotHubs: both,
    });
    t.after(() => back.deleteEnrollmentGroup(group));
    const key = (id) => derived(g.attestation.symmetricKey.primaryKey, id);
    const ids = Array.from({ length: 24 }, () => world.unique('hashed'));
    const results = await Promise.all(ids.map((id) => byKey(id, key(id))));
    for (const host of both) {
      const of = results.filter((r) => r.assignedHub === host);
      assert.ok(of.length > 0, `${host} gets no device`);
      await sends(t, of[0], key(of[0].deviceId));
    }
    // The same again.
    const [first] = results;
    assert.equal((await byKey(first.deviceId, key(first.deviceId))).assignedHub, first.assignedHub);
  });

  test('allocation: static', async (t) => {
    const id = world.unique('static');
    const { primaryKey } = await enroll(id, { allocationPolicy: 'static', iotHubs: [world.second.host] });
    const r = await byKey(id, primaryKey);
    assert.equal(r.assignedHub, world.second.host);
    await sends(t, r, primaryKey);
    await gone(world.host, id);
    // One hub, and one that is linked.
    await assert.rejects(enroll(world.unique('static'), { allocationPolicy: 'static', iotHubs: both }), (err) => err.response.statusCode === 400);
    await assert.rejects(enroll(world.unique('static'), { iotHubs: ['elsewhere.example'] }), (err) => err.response.statusCode === 400);
  });

  test('allocation: custom, with a payload both ways and a twin', async (t) => {
    const group = world.unique('custom');
    const hook = await webhook(t, (q) => ({ body: {
      iotHubHostName: q.deviceRuntimeContext.payload.site === 2 ? world.second.host : world.host,
      initialTwin: { tags: { site: q.deviceRuntimeContext.payload.site }, properties: { desired: { level: 3 } } },
      payload: { welcome: q.deviceRuntimeContext.registrationId },
    } }));
    const { responseBody: g } = await back.createOrUpdateEnrollmentGroup({
      enrollmentGroupId: group, attestation: { type: 'symmetricKey' }, iotHubs: both, ...hook.custom,
      initialTwin: { tags: { site: 'none' }, properties: { desired: {} } },
    });
    t.after(() => back.deleteEnrollmentGroup(group));
    const id = world.unique('custom');
    const key = derived(g.attestation.symmetricKey.primaryKey, id);
    const r = await byKey(id, key, { site: 2 });
    assert.equal(r.assignedHub, world.second.host);
    assert.deepEqual(r.payload, { welcome: id });
    await sends(t, r, key);
    const { tags, properties } = await twin(world.second.host, id);
    assert.equal(tags.site, 2);
    assert.equal(properties.desired.level, 3);
    const [asked] = hook.asked;
    assert.equal(asked.enrollmentGroup.enrollmentGroupId, group);
    assert.deepEqual(asked.enrollmentGroup.attestation, { type: 'symmetricKey', symmetricKey: {} }); // no keys
    assert.deepEqual(asked.linkedHubs, both);
    assert.deepEqual(asked.deviceRuntimeContext, { registrationId: id, symmetricKey: {}, payload: { site: 2 } });
    // Again, to the other hub: the webhook is told where it is.
    const moved = await byKey(id, key, { site: 1 });
    assert.equal(moved.assignedHub, world.host);
    assert.equal(hook.asked[1].deviceRuntimeContext.currentIotHubHostName, world.second.host);
    assert.equal(hook.asked[1].deviceRuntimeContext.currentDeviceId, id);
    assert.equal((await twin(world.host, id)).tags.site, 1); // the webhook's twin wins
    await gone(world.second.host, id);
    await sends(t, moved, key);
  });

  test('allocation: a webhook that chooses what it was not offered', async (t) => {
    const id = world.unique('custom');
    const hook = await webhook(t, () => ({ body: { iotHubHostName: world.second.host } }));
    const { primaryKey } = await enroll(id, { ...hook.custom, iotHubs: [world.host] });
    await assert.rejects(byKey(id, primaryKey), (err) => {
      assert.equal(err.result.registrationState.errorCode, 400207);
      assert.match(err.result.registrationState.errorMessage, /none of the linked hubs/);
      return true;
    });
  });

  const again = {
    migrate: { policy: { updateHubAssignment: true, migrateDeviceData: true }, host: world.second.host, substatus: 'deviceDataMigrated', tags: { site: 'changed' }, desired: 7 },
    reset: { policy: { updateHubAssignment: true, migrateDeviceData: false }, host: world.second.host, substatus: 'deviceDataReset', tags: { site: 'initial' }, desired: 1 },
    never: { policy: { updateHubAssignment: false, migrateDeviceData: false }, host: world.host, substatus: 'initialAssignment', tags: { site: 'changed' }, desired: 7 },
  };
  for (const [name, want] of Object.entries(again)) {
    test(`provisioned again: ${name}`, async (t) => {
      const id = world.unique(name);
      const { primaryKey } = await enroll(id, {
        allocationPolicy: 'static', iotHubs: [world.host], reprovisionPolicy: want.policy,
        initialTwin: { tags: { site: 'initial' }, properties: { desired: { level: 1 } } },
      });
      const first = await byKey(id, primaryKey);
      assert.equal(first.assignedHub, world.host);
      const { etag } = await twin(world.host, id);
      await world.registry.updateTwin(id, { tags: { site: 'changed' }, properties: { desired: { level: 7 } } }, etag);
      await change(id, { iotHubs: [world.second.host] });
      const r = await byKey(id, primaryKey);
      assert.equal(r.assignedHub, want.host);
      assert.equal(r.substatus, want.substatus);
      const now = await twin(want.host, id);
      assert.equal(now.tags.site, want.tags.site);
      assert.equal(now.properties.desired.level, want.desired);
      for (const other of both.filter((h) => h !== want.host)) await gone(other, id);
      await sends(t, r, primaryKey);
      // Without its record it starts over, where the enrollment says.
      await back.deleteDeviceRegistrationState(id);
      const anew = await byKey(id, primaryKey);
      assert.equal(anew.substatus, 'initialAssignment');
      assert.equal(anew.assignedHub, world.second.host);
    });
  }

  test('provisioned again: back where it was first, and when its hub has lost it', async (t) => {
    const id = world.unique('back');
    const { primaryKey } = await enroll(id, {
      allocationPolicy: 'static', iotHubs: [world.host], reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
    });
    await byKey(id, primaryKey);
    await change(id, { iotHubs: [world.second.host] });
    assert.equal((await byKey(id, primaryKey)).substatus, 'deviceDataReset');
    await change(id, { iotHubs: [world.host] });
    const r = await byKey(id, primaryKey);
    assert.equal(r.substatus, 'reprovisionedToInitialAssignment');
    assert.equal(r.assignedHub, world.host);
    await world.registry.delete(id);
    await sends(t, await byKey(id, primaryKey), primaryKey);
  });
});
