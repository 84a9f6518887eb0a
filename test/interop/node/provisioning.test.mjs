// Devices that know an id scope and a key or certificate, with
// azure-iot-provisioning-device over HTTPS; enrollments with
// azure-iot-provisioning-service. Who was provisioned then sends.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import provisioning from 'azure-iot-provisioning-device';
import provisioningHttp from 'azure-iot-provisioning-device-http';
import symmetricKey from 'azure-iot-security-symmetric-key';
import x509 from 'azure-iot-security-x509';
import provisioningService from 'azure-iot-provisioning-service';
import * as world from './world.mjs';
import { open, transports, messages, Message } from './device.mjs';

const { dps } = world;
const back = provisioningService.ProvisioningServiceClient.fromConnectionString(dps.connectionString);
// The client settles its promise of a bulk operation only when it has a callback too.
const bulk = (operation) => new Promise((resolve, reject) => {
  back.runBulkEnrollmentOperation(operation, (err, result) => (err ? reject(err) : resolve(result)));
});
const derived = (key, id) => createHmac('sha256', Buffer.from(key, 'base64')).update(id).digest('base64');

/** register resolves to the result of a registration; payload may be left out. */
function register(security, payload) {
  const c = provisioning.ProvisioningDeviceClient.create(dps.host, dps.scope, new provisioningHttp.Http(), security);
  if (payload !== undefined) c.setProvisioningPayload(payload);
  return c.register();
}
const byKey = (id, key, payload) => register(new symmetricKey.SymmetricKeySecurityClient(id, key), payload);

/** sends has a device that was assigned send a message to its hub. */
async function sends(t, result, credentials, options = {}) {
  const c = await open(t, `HostName=${result.assignedHub};DeviceId=${result.deviceId};${credentials}`, transports.Mqtt.transport, undefined, options);
  await c.sendEvent(new Message(`"from ${result.deviceId}"`));
  await messages(result.deviceId, 1);
}

const enrollment = (id, more = {}) => ({ registrationId: id, attestation: { type: 'symmetricKey' }, ...more });

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

  test('a device of a group', async (t) => {
    const id = world.unique('prov');
    const key = derived(dps.groupKey, id);
    const r = await byKey(id, key);
    assert.equal(r.deviceId, id);
    await sends(t, r, `SharedAccessKey=${key}`);
    // Blocked by an enrollment of its own.
    await back.createOrUpdateIndividualEnrollment(enrollment(id, { provisioningStatus: 'disabled' }));
    await assert.rejects(byKey(id, key), (err) => err.result.status === 'disabled');
    await back.deleteIndividualEnrollment(id);
    assert.equal((await byKey(id, key)).status, 'assigned');
  });

  test('certificates', async (t) => {
    const id = world.unique('provx509');
    const cert = await world.selfSigned(id);
    await back.createOrUpdateIndividualEnrollment({
      registrationId: id, attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: cert.cert } } } },
    });
    const { responseBody: e } = await back.getIndividualEnrollment(id);
    assert.equal(e.attestation.x509.clientCertificates.primary.info.subjectName, `CN=${id}`);
    const r = await register(new x509.X509Security(id, { cert: cert.cert, key: cert.key }));
    assert.equal(r.status, 'assigned');
    await sends(t, r, 'x509=true', { cert: cert.cert, key: cert.key });
    const other = await world.selfSigned(id);
    await assert.rejects(register(new x509.X509Security(id, { cert: other.cert, key: other.key })));
  });

  test('refusals', async () => {
    const id = world.unique('prov');
    await assert.rejects(byKey(id, derived(dps.groupKey, 'another')), (err) => err.name === 'UnauthorizedError');
    const c = provisioning.ProvisioningDeviceClient.create(dps.host, '0ne00000000', new provisioningHttp.Http(),
      new symmetricKey.SymmetricKeySecurityClient(id, derived(dps.groupKey, id)));
    await assert.rejects(c.register());
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
