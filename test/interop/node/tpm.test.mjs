// Devices whose identity is a TPM, with azure-iot-security-tpm: it drives the TPM
// itself, swtpm, through the protocol of Microsoft's simulator. Who was provisioned
// signs the tokens of its hub with the TPM, and sends.
import { test, describe } from 'node:test';
import assert from 'node:assert/strict';
import tss from 'tss.js';
import securityTpm from 'azure-iot-security-tpm';
import provisioning from 'azure-iot-provisioning-device';
import provisioningAmqp from 'azure-iot-provisioning-device-amqp';
import provisioningHttp from 'azure-iot-provisioning-device-http';
import provisioningService from 'azure-iot-provisioning-service';
import * as world from './world.mjs';
import { Client, Message, transports, messages } from './device.mjs';

const { dps } = world;
const back = provisioningService.ProvisioningServiceClient.fromConnectionString(dps.connectionString);

/** promise resolves to the result of a function that takes a callback. */
const promise = (f) => new Promise((resolve, reject) => { f((err, v) => (err ? reject(err) : resolve(v))); });

/** open resolves to a security client on a TPM; without an id it has the TPM's own. */
function open(t, tpm, id) {
  const device = new tss.Tpm(true, '127.0.0.1', tpm.port);
  t.after(() => device.close());
  return new securityTpm.TpmSecurityClient(id, device);
}

/** enroll makes an enrollment for the endorsement key of a TPM and resolves to its id. */
async function enroll(security) {
  const id = await promise((done) => security.getRegistrationId(done));
  const key = await promise((done) => security.getEndorsementKey(done));
  await back.createOrUpdateIndividualEnrollment({
    registrationId: id, attestation: { type: 'tpm', tpm: { endorsementKey: key.toString('base64') } },
  });
  return id;
}

/** register resolves to the result of a registration, and to the token it was asked for with. */
async function register(security, Transport = provisioningHttp.Http) {
  const transport = new Transport();
  let token;
  const respond = transport.respondToAuthenticationChallenge.bind(transport);
  transport.respondToAuthenticationChallenge = (request, sas, callback) => { token = sas; respond(request, sas, callback); };
  // With a TPM the SDK resolves to the operation, not to the state in it.
  const { registrationState } = await provisioning.ProvisioningDeviceClient.create(dps.host, dps.scope, transport, security).register();
  return { result: registrationState, token };
}

/** sends has a device send a message to its hub, signed for by its TPM. */
async function sends(t, security, result, transport) {
  const auth = securityTpm.TpmAuthenticationProvider.fromTpmSecurityClient(result.deviceId, result.assignedHub, security);
  const c = Client.fromAuthenticationProvider(auth, transport);
  await c.setOptions({ ca: world.ca });
  c.on('error', () => {});
  await c.open();
  t.after(() => c.close().catch(() => {}));
  await c.sendEvent(new Message(`"from the TPM of ${result.deviceId}"`));
}

const unauthorized = (err) => err.name === 'UnauthorizedError' || /401|Unauthorized/.test(`${err.message} ${err.responseBody}`);

/** ask makes a request of a device as it stands. */
const ask = (method, path, token, body) => world.request(method, `https://${dps.host}/${dps.scope}/registrations/${path}api-version=2019-03-31`, {
  token, headers: { 'Content-Type': 'application/json' }, body: body && JSON.stringify(body),
});

describe('TPM', { concurrency: true }, () => {
  test('TPM: both activations, then the device sends', async (t) => {
    const tpm = await world.tpm(t);
    if (!tpm) return;
    const security = open(t, tpm);
    const id = await enroll(security);
    assert.match(id, /^[a-z2-7]{52}$/); // made of the endorsement key
    const { result } = await register(security);
    assert.equal(result.status, 'assigned');
    assert.equal(result.assignedHub, world.host);
    assert.equal(result.deviceId, id);
    await sends(t, security, result, transports.Mqtt.transport);
    await sends(t, security, result, transports.Amqp.transport);
    await messages(id, 2);
    // Again, after it was switched off and on: the key on its hub changes.
    await tpm.restart();
    const again = open(t, tpm);
    const { result: second } = await register(again);
    assert.equal(second.deviceId, id);
    await sends(t, again, second, transports.Mqtt.transport);
    await messages(id, 3);
    const { responseBody: state } = await back.getDeviceRegistrationState(id);
    assert.equal(state.status, 'assigned');
  });

  for (const [name, Transport] of Object.entries(provisioningAmqp)) {
    test(`TPM: both activations over ${name}, then the device sends`, async (t) => {
      const tpm = await world.tpm(t);
      if (!tpm) return;
      const security = open(t, tpm);
      const id = await enroll(security);
      const { result } = await register(security, Transport);
      assert.equal(result.status, 'assigned');
      assert.equal(result.deviceId, id);
      await sends(t, security, result, transports[name].transport);
      await messages(id, 1);
      // Of a refusal in the place of the challenge the SDK says nothing to its caller.
    });
  }

  test('TPM: cleared, it is the same device; with another endorsement key it is none', async (t) => {
    const tpm = await world.tpm(t);
    if (!tpm) return;
    const id = world.unique('tpm');
    const before = open(t, tpm, id);
    await enroll(before);
    const keys = async (security) => [
      await promise((done) => security.getEndorsementKey(done)), await promise((done) => security.getStorageRootKey(done)),
    ];
    const old = await keys(before);
    await register(before);
    await tpm.clear();
    const cleared = open(t, tpm, id);
    const now = await keys(cleared);
    assert.ok(now[0].equals(old[0]), 'the endorsement key stays');
    assert.ok(!now[1].equals(old[1]), 'the storage root key changes');
    const { result } = await register(cleared);
    await sends(t, cleared, result, transports.Mqtt.transport);
    await messages(id, 1);
    await tpm.renew();
    const other = open(t, tpm, id);
    assert.ok(!(await keys(other))[0].equals(old[0]), 'the endorsement key changes');
    await assert.rejects(register(other));
    // The answer was no challenge.
    const [ek, srk] = (await keys(other)).map((k) => k.toString('base64'));
    const r = await ask('PUT', `${id}/register?`, '', { registrationId: id, tpm: { endorsementKey: ek, storageRootKey: srk } });
    assert.equal(r.status, 401);
    const body = JSON.parse(r.body);
    assert.equal(body.errorCode, 401002);
    assert.equal(body.authenticationKey, undefined);
  });

  test('TPM: a token or an activation is of no use again', async (t) => {
    const tpm = await world.tpm(t);
    if (!tpm) return;
    const id = world.unique('tpm');
    const security = open(t, tpm, id);
    await enroll(security);
    const ek = (await promise((done) => security.getEndorsementKey(done))).toString('base64');
    const srk = (await promise((done) => security.getStorageRootKey(done))).toString('base64');
    const body = { registrationId: id, tpm: { endorsementKey: ek, storageRootKey: srk } };
    const { result, token } = await register(security);
    assert.equal((await ask('PUT', `${id}/register?`, token, body)).status, 401);
    const state = await ask('POST', `${id}?`, token, body);
    assert.equal(state.status, 200);
    // What is told again is what this TPM alone can open.
    assert.ok(JSON.parse(state.body).tpm.authenticationKey);
    // A challenge opens on this TPM alone; the SDK does not survive one that does not
    // open, so that this is shown by the commands of a TPM elsewhere.
    const challenge = await ask('PUT', `${id}/register?`, '', body);
    assert.equal(challenge.status, 401);
    const { authenticationKey, keyName, status } = JSON.parse(challenge.body);
    assert.equal(keyName, 'registration');
    assert.equal(status, undefined);
    // The key of the hub signs no registration, and that of the challenge nothing at the hub.
    const resource = encodeURIComponent(`${dps.scope}/registrations/${id}`);
    const se = Math.floor(Date.now() / 1000) + 600;
    const sig = await promise((done) => security.signWithIdentity(Buffer.from(`${resource}\n${se}`), done));
    const wrong = `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(sig.toString('base64'))}&se=${se}&skn=registration`;
    assert.equal((await ask('PUT', `${id}/register?`, wrong, body)).status, 401);
    await promise((done) => security.activateIdentityKey(Buffer.from(authenticationKey, 'base64'), done));
    await assert.rejects(sends(t, security, result, transports.Mqtt.transport), unauthorized);
  });

  test('TPM: whoever is not enrolled by it is refused', async (t) => {
    const tpm = await world.tpm(t);
    if (!tpm) return;
    await assert.rejects(register(open(t, tpm, world.unique('tpm'))));
    const id = world.unique('tpm');
    await back.createOrUpdateIndividualEnrollment({ registrationId: id, attestation: { type: 'symmetricKey' } });
    await assert.rejects(register(open(t, tpm, id)));
  });
});
