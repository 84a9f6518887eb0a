// Devices that are provisioned over each transport, and then send to their hub:
// what they prove and what they are told.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import * as world from './world.mjs';
import symmetricKey from 'azure-iot-security-symmetric-key';
import provisioningService from 'azure-iot-provisioning-service';
import { back, byCertificate, byKey, derived, enroll, enrollment, notFound, register, sends, transports, unauthorized, webhook } from './provisioning.mjs';

const { dps } = world;

for (const [name, transport] of Object.entries(transports)) {
  describe(`provisioning over ${name}`, { concurrency: true }, () => {
    test('a key of its own, primary and secondary', async (t) => {
      const id = world.unique('Own');
      const { primaryKey, secondaryKey } = await enroll(id, { deviceId: `${id}-on-hub` });
      for (const key of [primaryKey, secondaryKey]) {
        const r = await byKey(transport, id, key);
        assert.equal(r.status, 'assigned');
        assert.equal(r.substatus, 'initialAssignment');
        assert.equal(r.registrationId, id);
        assert.equal(r.assignedHub, world.host);
        assert.equal(r.deviceId, `${id}-on-hub`);
        await sends(t, transport, r, `SharedAccessKey=${key}`);
      }
    });

    test('a key of a group, primary and secondary', async (t) => {
      const group = world.unique('keys');
      const { responseBody: g } = await back.createOrUpdateEnrollmentGroup({ enrollmentGroupId: group, attestation: { type: 'symmetricKey' } });
      t.after(() => back.deleteEnrollmentGroup(group));
      for (const key of Object.values(g.attestation.symmetricKey)) {
        const id = world.unique('member');
        const r = await byKey(transport, id, derived(key, id));
        assert.equal(r.deviceId, id);
        await sends(t, transport, r, `SharedAccessKey=${derived(key, id)}`);
      }
    });

    test('a certificate of its own, primary and secondary', async (t) => {
      const id = world.unique('leaf');
      const both = [await world.selfSigned(id), await world.selfSigned(id)];
      await back.createOrUpdateIndividualEnrollment({
        registrationId: id,
        attestation: { type: 'x509', x509: { clientCertificates: { primary: { certificate: both[0].cert }, secondary: { certificate: both[1].cert } } } },
      });
      for (const c of both) {
        const r = await byCertificate(transport, id, c);
        assert.equal(r.status, 'assigned');
        await sends(t, transport, r, 'x509=true', { cert: c.cert, key: c.key });
      }
      await assert.rejects(byCertificate(transport, id, await world.selfSigned(id)), unauthorized);
    });

    test('a certificate of a group, through an intermediate', async (t) => {
      const id = world.unique('chain');
      const c = await world.chain(id);
      // The nearest group wins, though both have signed.
      const groups = { root: world.unique('root'), intermediate: world.unique('intermediate') };
      for (const [signer, group] of Object.entries(groups)) {
        await back.createOrUpdateEnrollmentGroup({
          enrollmentGroupId: group, attestation: { type: 'x509', x509: { signingCertificates: { primary: { certificate: c[signer] } } } },
        });
        t.after(() => back.deleteEnrollmentGroup(group));
      }
      const r = await byCertificate(transport, id, c);
      assert.equal(r.deviceId, id);
      const { responseBody: state } = await back.getDeviceRegistrationState(id);
      assert.equal(state.status, 'assigned');
      const { responseBody: members } = await back.createEnrollmentGroupDeviceRegistrationStateQuery({ query: 'SELECT *' }, groups.intermediate, 10).next();
      assert.deepEqual(members.map((m) => m.registrationId), [id]);
      await sends(t, transport, r, 'x509=true', { cert: c.cert, key: c.key });
      // The name of another.
      await assert.rejects(byCertificate(transport, world.unique('chain'), c), unauthorized);
    });

    test('a certificate of a group, by an authority that the service knows by its name', async (t) => {
      const group = world.unique('reference');
      await back.createOrUpdateEnrollmentGroup({ enrollmentGroupId: group, attestation: { type: 'x509', x509: { caReferences: { primary: 'interop' } } } });
      t.after(() => back.deleteEnrollmentGroup(group));
      const id = world.unique('reference');
      const c = await world.caSigned(id);
      const r = await byCertificate(transport, id, c);
      assert.equal(r.deviceId, id);
      await sends(t, transport, r, 'x509=true', { cert: c.cert, key: c.key });
      await assert.rejects(byCertificate(transport, world.unique('reference'), c));
    });

    test('what it gives reaches the webhook, and what that gives the device', async (t) => {
      for (const payload of [{ site: 'ä', n: [1, { deep: true }] }, 'text', 7]) {
        const id = world.unique('custom');
        const hook = await webhook(t, (q) => ({ body: { iotHubHostName: world.host, payload: { seen: q.deviceRuntimeContext.payload } } }));
        const { primaryKey } = await enroll(id, hook.custom);
        const r = await byKey(transport, id, primaryKey, { payload });
        assert.equal(hook.asked.length, 1);
        assert.equal(hook.asked[0].deviceRuntimeContext.registrationId, id);
        assert.deepEqual(hook.asked[0].deviceRuntimeContext.payload, payload);
        if (typeof payload !== 'object') assert.deepEqual(r.payload, { seen: payload }); // over MQTT the SDK reads ASCII
        assert.ok(r.payload.seen);
        await sends(t, transport, r, `SharedAccessKey=${primaryKey}`);
      }
    });

    test('a registration that fails', async (t) => {
      const id = world.unique('failed');
      const hook = await webhook(t, () => ({ status: 400 }));
      const { primaryKey } = await enroll(id, hook.custom);
      await assert.rejects(byKey(transport, id, primaryKey), (err) => {
        assert.equal(err.result.status, 'failed');
        assert.equal(err.result.registrationState.errorCode, 400207);
        assert.match(err.result.registrationState.errorMessage, /status code: 400/);
        return true;
      });
    });

    test('a device of a group that is disabled', async () => {
      const id = world.unique('blocked');
      await enroll(id, { provisioningStatus: 'disabled' });
      await assert.rejects(byKey(transport, id, derived(dps.groupKey, id)), (err) => err.result.status === 'disabled');
      await back.deleteIndividualEnrollment(id);
      assert.equal((await byKey(transport, id, derived(dps.groupKey, id))).status, 'assigned');
    });

    test('a service that asks for patience', async (t) => {
      const slow = provisioningService.ProvisioningServiceClient.fromConnectionString(world.throttled.connectionString);
      const id = world.unique('patient');
      // Not decided yet at the first question. The second one comes too early.
      const hook = await webhook(t, async () => {
        await new Promise((resolve) => { setTimeout(resolve, 3000); });
        return { body: { iotHubHostName: world.host } };
      });
      const { responseBody: e } = await slow.createOrUpdateIndividualEnrollment(enrollment(id, hook.custom));
      const { primaryKey } = e.attestation.symmetricKey;
      const questions = [];
      const registration = byKey(transport, id, primaryKey, { scope: world.throttled.scope, asked: () => questions.push(Date.now()) });
      if (!transport.patient) {
        await assert.rejects(registration, { name: 'ThrottlingError' });
        return;
      }
      const r = await registration;
      assert.equal(questions.length, 3);
      const waited = questions[2] - questions[1];
      assert.ok(waited > 7000 && waited < 12000, `after it was refused it waited for ${waited} ms`);
      await sends(t, transport, r, `SharedAccessKey=${primaryKey}`);
    });

    test('refusals', async () => {
      const id = world.unique('refused');
      await assert.rejects(byKey(transport, id, derived(dps.groupKey, 'another')), unauthorized);
      await assert.rejects(byKey(transport, id, derived(dps.groupKey, id), { scope: '0ne00000000' }), notFound);
      const expired = new symmetricKey.SymmetricKeySecurityClient(id, derived(dps.groupKey, id));
      expired.createSharedAccessSignature = (scope, done) => {
        done(null, world.sas(`${scope}/registrations/${id}`, derived(dps.groupKey, id), -3600, 'registration'));
      };
      await assert.rejects(register(transport, expired), unauthorized);
    });
  });
}
