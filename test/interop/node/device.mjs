// What the tests of devices share: the transports, and opening a client.
import device from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import amqp from 'azure-iot-device-amqp';
import common from 'azure-iot-common';
import * as world from './world.mjs';

export const { Client, ModuleClient, Message } = device;
export const { NoRetry } = common;

export const transports = {
  Mqtt: { transport: mqtt.Mqtt, amqp: false },
  MqttWs: { transport: mqtt.MqttWs, amqp: false },
  Amqp: { transport: amqp.Amqp, amqp: true },
  AmqpWs: { transport: amqp.AmqpWs, amqp: true },
};

/** open resolves to a connected client that is closed after the test. */
export async function open(t, cs, transport, kind = Client, options = {}) {
  const c = kind.fromConnectionString(cs, transport);
  await c.setOptions({ ca: world.ca, ...options });
  c.on('error', () => {}); // the tests look at results, the client reconnects
  await c.open();
  t.after(() => c.close().catch(() => {}));
  return c;
}

/** messages returns what arrived of a device when it is as many as n. */
export const messages = (deviceId, n) => world.events(deviceId, (l) => l.length >= n);

export const serviceClient = () => world.client.fromConnectionString(world.service);

/**
 * expiry is a time as the SDK's transports want it: over AMQP a Date throws
 * inside the SDK's library, and takes the connection with it.
 */
export const expiry = (amqp, date) => (amqp ? date.getTime() : date);
