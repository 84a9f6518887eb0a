// Enrollments with azure-iot-provisioning-service, and what comes of them for a
// device that registers.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import { back, byKey as registerByKey, derived, enrollment, sends as sendsOver, transports } from './provisioning.mjs';

// The client settles its promise of a bulk operation only when it has a callback too.
const bulk = (operation) => new Promise((resolve, reject) => {
  back.runBulkEnrollmentOperation(operation, (err, result) => (err ? reject(err) : resolve(result)));
});
const byKey = (id, key) => registerByKey(transports.Http, id, key);
const sends = (t, ...more) => sendsOver(t, transports.Http, ...more);

describe('provisioning', { concurrency: true }, () => {
  test('a device with a key of its own', async (t) => {
    const id = world.unique('Prov');
    const { responseBody: e } = await back.createOrUpdateIndividualEnrollment(enrollment(id, {
      deviceId: `${id}-on-hub`, capabilities: { iotEdge: true },
      initialTwin: { tags: { site: 'a' }, properties: { desired: { interval: 5 } } },
    }));
    const { primaryKey, secondaryKey } = e.attestation.symmetricKey;
    for (const key of [primaryKey, secondaryKey]) {
      const r = await byKey(id, key);
      assert.equal(r.status, 'assigned');
      assert.equal(r.assignedHub, world.host);
      assert.equal(r.deviceId, `${id}-on-hub`);
      assert.equal(r.substatus, 'initialAssignment');
      await sends(t, r, `SharedAccessKey=${key}`);
    }
    const { responseBody: d } = await world.registry.get(`${id}-on-hub`);
    assert.equal(d.capabilities.iotEdge, true);
    const { responseBody: twin } = await world.registry.getTwin(`${id}-on-hub`);
    assert.equal(twin.tags.site, 'a');
    assert.equal(twin.properties.desired.interval, 5);
    const { responseBody: state } = await back.getDeviceRegistrationState(id);
    assert.equal(state.status, 'assigned');
    await back.deleteDeviceRegistrationState(id);
    await assert.rejects(back.getDeviceRegistrationState(id));
  });

  test('enrollments: etags, pages, bulk, groups', async () => {
    const prefix = world.unique('page');
    const ids = Array.from({ length: 10 }, (_, i) => `${prefix}-${i}`);
    const made = await bulk({ mode: 'create', enrollments: ids.map((id) => enrollment(id)) });
    assert.equal(made.isSuccessful, true);
    const again = await bulk({ mode: 'create', enrollments: [enrollment(ids[0])] });
    assert.equal(again.isSuccessful, false);
    assert.equal(again.errors[0].registrationId, ids[0]);

    const found = [];
    const query = back.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 3);
    while (query.hasMoreResults) {
      const { responseBody: page } = await query.next(query.continuationToken);
      assert.ok(page.length <= 3);
      found.push(...page.map((e) => e.registrationId));
    }
    for (const id of ids) assert.ok(found.includes(id), id);

    const { responseBody: e } = await back.getIndividualEnrollment(ids[0]);
    e.capabilities = { iotEdge: true };
    const { responseBody: changed } = await back.createOrUpdateIndividualEnrollment(e);
    assert.notEqual(changed.etag, e.etag);
    await assert.rejects(back.createOrUpdateIndividualEnrollment(e)); // by an etag of before
    await assert.rejects(back.deleteIndividualEnrollment(e));
    const { responseBody: keys } = await back.getIndividualEnrollmentAttestationMechanism(ids[0]);
    assert.equal(keys.type, 'symmetricKey');
    assert.ok(keys.symmetricKey.primaryKey);
    const gone = await bulk({ mode: 'delete', enrollments: ids.map((registrationId) => ({ registrationId, attestation: { type: 'symmetricKey' } })) });
    assert.equal(gone.isSuccessful, true);

    const group = world.unique('group');
    const { responseBody: g } = await back.createOrUpdateEnrollmentGroup({ enrollmentGroupId: group, attestation: { type: 'symmetricKey' } });
    const id = world.unique('member');
    await byKey(id, derived(g.attestation.symmetricKey.primaryKey, id));
    const members = back.createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT *' }, group, 10);
    const { responseBody: list } = await members.next();
    assert.deepEqual(list.map((r) => r.registrationId), [id]);
    assert.equal(list[0].enrollmentGroupId, group);
    await back.deleteEnrollmentGroup(group);
    await assert.rejects(back.getEnrollmentGroup(group));
  });
});
