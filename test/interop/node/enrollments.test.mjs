// Everything that azure-iot-provisioning-service can ask: enrollments and groups with
// their etags, in bulk, by pages, how they attest, and registrations.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import { back, byKey, derived, enrollment, transports } from './provisioning.mjs';

// The client settles its promise of a bulk operation only when it has a callback too.
const bulk = (operation) => new Promise((resolve, reject) => {
  back.runBulkEnrollmentOperation(operation, (err, result) => (err ? reject(err) : resolve(result)));
});
const status = (code) => (err) => {
  assert.equal(err.response?.statusCode, code, err.message);
  return true;
};

/** pages resolves to all items of a query, of which no page has more than size. */
async function pages(query, size) {
  const all = [];
  while (query.hasMoreResults) {
    const { responseBody: page } = await query.next(query.continuationToken);
    assert.ok(page.length <= size);
    all.push(...page);
  }
  return all;
}

const group = (enrollmentGroupId, more = {}) => ({ enrollmentGroupId, attestation: { type: 'symmetricKey' }, ...more });

// What there is of enrollments and of groups, by the same names.
const kinds = {
  enrollments: {
    id: 'registrationId', make: enrollment, put: (e) => back.createOrUpdateIndividualEnrollment(e), get: (id) => back.getIndividualEnrollment(id),
    remove: (...a) => back.deleteIndividualEnrollment(...a), query: (size) => back.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, size),
    attestation: (id) => back.getIndividualEnrollmentAttestationMechanism(id), bulk: (mode, list) => bulk({ mode, enrollments: list }),
  },
  groups: {
    id: 'enrollmentGroupId', make: group, put: (e) => back.createOrUpdateEnrollmentGroup(e), get: (id) => back.getEnrollmentGroup(id),
    remove: (...a) => back.deleteEnrollmentGroup(...a), query: (size) => back.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, size),
    attestation: (id) => back.getEnrollmentGroupAttestationMechanism(id),
  },
};

describe('back ends of provisioning', { concurrency: true }, () => {
  for (const [name, k] of Object.entries(kinds)) {
    test(`${name}: make, read, change, delete, by etags`, async () => {
      const id = world.unique('Crud');
      const more = {
        reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false }, allocationPolicy: 'static', iotHubs: [world.host],
        capabilities: { iotEdge: true }, initialTwin: { tags: { a: 1 }, properties: { desired: { b: { c: 2 } } } }, provisioningStatus: 'disabled',
      };
      const { responseBody: made } = await k.put(k.make(id, more));
      assert.equal(made[k.id], id);
      assert.ok(made.attestation.symmetricKey.primaryKey && made.attestation.symmetricKey.secondaryKey);
      const { responseBody: read } = await k.get(id.toUpperCase());
      assert.equal(read[k.id], id);
      for (const [member, value] of Object.entries(more)) assert.deepEqual(read[member], value, member);
      assert.deepEqual(read.attestation, { type: 'symmetricKey', symmetricKey: {} }); // keys are asked for apart
      assert.ok(Date.parse(read.createdDateTimeUtc) && Date.parse(read.lastUpdatedDateTimeUtc));
      const { responseBody: keys } = await k.attestation(id);
      assert.deepEqual(keys, { type: 'symmetricKey', symmetricKey: made.attestation.symmetricKey });

      const { responseBody: changed } = await k.put({ ...read, provisioningStatus: 'enabled' });
      assert.equal(changed.provisioningStatus, 'enabled');
      assert.notEqual(changed.etag, read.etag);
      // Keys that were not given stay.
      assert.deepEqual((await k.attestation(id)).responseBody, keys);
      await assert.rejects(k.put(read), status(412));
      await assert.rejects(k.remove(read), status(412));
      await assert.rejects(k.remove(id, read.etag), status(412));
      // With quotes, without, weak.
      const { etag } = changed;
      let { responseBody: last } = await k.put({ ...changed, etag: etag.replaceAll('"', '') });
      ({ responseBody: last } = await k.put({ ...last, etag: `W/${last.etag}` }));
      ({ responseBody: last } = await k.put({ ...last, etag: '*' }));
      await k.remove(id, last.etag);
      await assert.rejects(k.get(id), status(404));
      await assert.rejects(k.remove(id), status(404));
      await assert.rejects(k.attestation(id), status(404));
      await assert.rejects(k.put(last), status(412)); // an etag of what is gone
      await assert.rejects(k.put(k.make('not an id')), status(400));
      await assert.rejects(k.put({ ...k.make(world.unique('x')), allocationPolicy: 'best' }), status(400));
    });

    test(`${name}: pages`, async () => {
      const prefix = world.unique('pages').toLowerCase();
      const ids = Array.from({ length: 7 }, (_, i) => `${prefix}-${i}`);
      for (const id of ids) await k.put(k.make(id));
      for (const size of [2, 100]) {
        const all = await pages(k.query(size), size);
        assert.deepEqual(all.map((e) => e[k.id]).filter((id) => id.startsWith(prefix)), ids);
        assert.ok(all.every((e) => !e.attestation.symmetricKey?.primaryKey));
      }
      for (const id of ids) await k.remove(id);
    });
  }

  test('enrollments: in bulk', async () => {
    const ids = Array.from({ length: 10 }, () => world.unique('bulk'));
    const ok = async (mode, list) => assert.deepEqual(await bulk({ mode, enrollments: list }), { isSuccessful: true, errors: [] });
    await ok('create', ids.map((id) => enrollment(id)));
    const again = await bulk({ mode: 'create', enrollments: [enrollment(ids[0]), enrollment(world.unique('bulk'))] });
    assert.equal(again.isSuccessful, false);
    assert.equal(again.errors.length, 1); // the other one was made
    assert.equal(again.errors[0].registrationId, ids[0]);
    assert.ok(again.errors[0].errorCode && again.errors[0].errorStatus);
    await ok('update', ids.map((id) => enrollment(id, { capabilities: { iotEdge: true } })));
    const { responseBody: one } = await back.getIndividualEnrollment(ids[0]);
    const { responseBody: other } = await back.getIndividualEnrollment(ids[1]);
    assert.equal(one.capabilities.iotEdge, true);
    await back.createOrUpdateIndividualEnrollment({ ...one, provisioningStatus: 'disabled' });
    // The SDK spells this mode with a small t.
    const stale = await bulk({ mode: 'updateIfMatchEtag', enrollments: [{ ...one, deviceId: 'x' }, { ...other, deviceId: 'y' }] });
    assert.equal(stale.isSuccessful, false);
    assert.deepEqual(stale.errors.map((e) => e.registrationId), [ids[0]]);
    assert.equal((await back.getIndividualEnrollment(ids[1])).responseBody.deviceId, 'y');
    const missing = await bulk({ mode: 'update', enrollments: [enrollment(world.unique('bulk'))] });
    assert.equal(missing.isSuccessful, false);
    await assert.rejects(bulk({ mode: 'create', enrollments: Array.from({ length: 11 }, () => enrollment(world.unique('bulk'))) }), status(400));
    await ok('delete', ids.map((id) => enrollment(id)));
    for (const id of ids) await assert.rejects(back.getIndividualEnrollment(id), status(404));
  });

  test('attestation by certificates and by a TPM', async () => {
    const id = world.unique('certs');
    const [one, two] = [await world.selfSigned(id), await world.selfSigned(id)];
    const { responseBody: made } = await back.createOrUpdateIndividualEnrollment({
      registrationId: id, attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: one.cert }, secondary: { certificate: two.cert } } } },
    });
    for (const e of [made, (await back.getIndividualEnrollment(id)).responseBody]) {
      const { primary, secondary } = e.attestation.x509.clientCertificates;
      assert.equal(primary.certificate, undefined);
      assert.equal(primary.info.subjectName, `CN=${id}`);
      assert.equal(primary.info.sha1Thumbprint, one.thumbprint);
      assert.equal(secondary.info.sha256Thumbprint, two.thumbprint256.toUpperCase());
      assert.equal(primary.info.version, 3);
      assert.ok(Date.parse(primary.info.notBeforeUtc) < Date.parse(primary.info.notAfterUtc));
    }
    const { responseBody: how } = await back.getIndividualEnrollmentAttestationMechanism(id);
    assert.equal(how.type, 'x509');
    // What is read can be written back: the certificates stay.
    const { responseBody: kept } = await back.createOrUpdateIndividualEnrollment({ ...made, deviceId: 'other' });
    assert.deepEqual(kept.attestation, made.attestation);
    await assert.rejects(back.createOrUpdateIndividualEnrollment({ ...kept, attestation: { type: 'symmetricKey' } }), status(400));
    await assert.rejects(back.createOrUpdateEnrollmentGroup({ // a leaf signs nobody
      enrollmentGroupId: world.unique('certs'), attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: one.cert } } } },
    }), status(400));
    await assert.rejects(back.createOrUpdateIndividualEnrollment({
      registrationId: world.unique('tpm'), attestation: { type: 'tpm', tpm: { endorsementKey: 'AAAA' } },
    }), status(400));
  });

  test('registrations: of a device, and of a group by pages', async (t) => {
    const name = world.unique('members');
    const { responseBody: g } = await back.createOrUpdateEnrollmentGroup(group(name));
    t.after(() => back.deleteEnrollmentGroup(name));
    const ids = Array.from({ length: 5 }, (_, i) => `${name.toLowerCase()}-${i}`);
    await assert.rejects(back.getDeviceRegistrationState(ids[0]), status(404));
    await Promise.all(ids.map((id) => byKey(transports.Http, id, derived(g.attestation.symmetricKey.primaryKey, id))));
    for (const size of [2, 100]) {
      const all = await pages(back.createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT *' }, name, size), size);
      assert.deepEqual(all.map((r) => r.registrationId), ids);
    }
    const { responseBody: state } = await back.getDeviceRegistrationState(ids[0]);
    assert.equal(state.status, 'assigned');
    assert.equal(state.substatus, 'initialAssignment');
    assert.equal(state.assignedHub, world.host);
    assert.equal(state.deviceId, ids[0]);
    assert.equal(state.enrollmentGroupId, name);
    assert.ok(state.etag);
    await byKey(transports.Http, ids[0], derived(g.attestation.symmetricKey.primaryKey, ids[0]));
    await assert.rejects(back.deleteDeviceRegistrationState(state), status(412)); // it registered since
    await back.deleteDeviceRegistrationState((await back.getDeviceRegistrationState(ids[0])).responseBody);
    await back.deleteDeviceRegistrationState(ids[1]);
    for (const id of ids.slice(0, 2)) await assert.rejects(back.getDeviceRegistrationState(id), status(404));
    // Its own enrollment shows the registration of a device.
    const own = world.unique('own');
    const { responseBody: e } = await back.createOrUpdateIndividualEnrollment(enrollment(own));
    await byKey(transports.Http, own, e.attestation.symmetricKey.primaryKey);
    assert.equal((await back.getIndividualEnrollment(own)).responseBody.registrationState.status, 'assigned');
  });
});
