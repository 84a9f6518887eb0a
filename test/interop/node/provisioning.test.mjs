// Enrollments with azure-iot-provisioning-service, and what comes of them for a
// device that registers.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import { back, byKey as registerByKey, enrollment, sends as sendsOver, transports } from './provisioning.mjs';

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
});
