// What the tests of provisioning share: the clients of devices over every
// transport, and of back ends; a webhook; and sending as who was provisioned.
import { createHmac } from 'node:crypto';
import http from 'node:http';
import provisioning from 'azure-iot-provisioning-device';
import provisioningAmqp from 'azure-iot-provisioning-device-amqp';
import provisioningHttp from 'azure-iot-provisioning-device-http';
import provisioningMqtt from 'azure-iot-provisioning-device-mqtt';
import symmetricKey from 'azure-iot-security-symmetric-key';
import x509 from 'azure-iot-security-x509';
import provisioningService from 'azure-iot-provisioning-service';
import * as world from './world.mjs';
import { open, transports as hubTransports, messages, Message } from './device.mjs';

const { dps } = world;

/**
 * transports by name: the class of the provisioning client's, the one of a device's for
 * its hub, and whether the SDK asks again when it is refused for a while.
 */
export const transports = {
  Http: { Transport: provisioningHttp.Http, hub: hubTransports.Mqtt.transport },
  Mqtt: { Transport: provisioningMqtt.Mqtt, hub: hubTransports.Mqtt.transport, patient: true },
  MqttWs: { Transport: provisioningMqtt.MqttWs, hub: hubTransports.MqttWs.transport, patient: true },
  Amqp: { Transport: provisioningAmqp.Amqp, hub: hubTransports.Amqp.transport, patient: true },
  AmqpWs: { Transport: provisioningAmqp.AmqpWs, hub: hubTransports.AmqpWs.transport, patient: true },
};

// Over AMQP the SDK hands on the condition as it came.
export const unauthorized = (err) => err.name === 'UnauthorizedError' || err.condition === 'amqp:unauthorized-access' && JSON.parse(err.description).errorCode === 401002;
export const notFound = (err) => err.name === 'DeviceNotFoundError' || err.message === 'Not found' // as HTTP has it
  || err.condition === 'amqp:not-found' && JSON.parse(err.description).errorCode === 404203;

export const back = provisioningService.ProvisioningServiceClient.fromConnectionString(dps.connectionString);

/** derived is the key of a device in a group. */
export const derived = (key, id) => createHmac('sha256', Buffer.from(key, 'base64')).update(id).digest('base64');

/**
 * register resolves to the result of a registration. Options are payload, scope, and
 * asked, a function that is called with each question for the outcome.
 */
export function register(transport, security, { payload, scope = dps.scope, asked } = {}) {
  const over = new transport.Transport();
  if (asked) {
    const query = over.queryOperationStatus.bind(over);
    over.queryOperationStatus = (...more) => { asked(); query(...more); };
  }
  const c = provisioning.ProvisioningDeviceClient.create(dps.host, scope, over, security);
  if (payload !== undefined) c.setProvisioningPayload(payload);
  return c.register();
}
export const byKey = (transport, id, key, options) => register(transport, new symmetricKey.SymmetricKeySecurityClient(id, key), options);
export const byCertificate = (transport, id, { cert, key }, options) => register(transport, new x509.X509Security(id, { cert, key }), options);

/** sends has a device that was assigned send a message to its hub. */
export async function sends(t, transport, result, credentials, options = {}) {
  const c = await open(t, `HostName=${result.assignedHub};DeviceId=${result.deviceId};${credentials}`, transport.hub, undefined, options);
  await c.sendEvent(new Message(`"from ${result.deviceId}"`));
  await messages(result.deviceId, 1);
}

export const enrollment = (id, more = {}) => ({ registrationId: id, attestation: { type: 'symmetricKey' }, ...more });

/** enroll makes an enrollment and resolves to its keys. */
export async function enroll(id, more) {
  const { responseBody: e } = await back.createOrUpdateIndividualEnrollment(enrollment(id, more));
  return e.attestation.symmetricKey;
}

/**
 * webhook starts a server that allocates as answer says, given what it is asked:
 * {status, body}. It resolves to what an enrollment needs to use it, and to the
 * list of what was asked.
 */
export async function webhook(t, answer) {
  const asked = [];
  const server = http.createServer(async (req, res) => {
    const chunks = [];
    for await (const c of req) chunks.push(c);
    asked.push(JSON.parse(Buffer.concat(chunks)));
    const { status = 200, body = {} } = await answer(asked.at(-1));
    res.writeHead(status, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify(body));
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => { server.closeAllConnections(); server.close(); });
  const webhookUrl = `http://127.0.0.1:${server.address().port}/allocate`;
  return { asked, custom: { allocationPolicy: 'custom', customAllocationDefinition: { webhookUrl, apiVersion: '2019-03-31' } } };
}
