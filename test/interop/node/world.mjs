// What every test file shares: the hub under test as its environment describes
// it, reading stored telemetry, sending commands, and controlling the server.
import { readFileSync } from 'node:fs';
import { createHmac, randomUUID } from 'node:crypto';
import https from 'node:https';
import dns from 'node:dns';
import azureIothub from 'azure-iothub';

const env = (name) => {
  const v = process.env[name];
  if (!v) throw new Error(`${name} is not set: run these tests through test/interop/run`);
  return v;
};

export const host = env('HUB_HOST');
export const owner = env('OWNER_CONNECTION_STRING');
export const service = env('SERVICE_CONNECTION_STRING');
export const eventsString = env('EVENTS_CONNECTION_STRING');
export const ca = readFileSync(env('CA_FILE'), 'utf8');
export const dps = {
  host: env('DPS_HOST'), scope: env('DPS_ID_SCOPE'), connectionString: env('DPS_CONNECTION_STRING'), groupKey: env('DPS_GROUP_KEY'),
};
/** throttled is a provisioning service that takes one question of a device in ten seconds. */
export const throttled = { scope: env('THROTTLED_ID_SCOPE'), connectionString: env('THROTTLED_CONNECTION_STRING') };
const adminUrl = env('ADMIN_URL');
const controlUrl = env('CONTROL_URL');

// Names below localhost are this machine, which not every resolver knows.
const { lookup } = dns;
dns.lookup = (name, ...more) => lookup(name.endsWith('.localhost') ? 'localhost' : name, ...more);

/** second is another hub that devices may be provisioned to, where their enrollment says so. */
export const second = { name: env('SECOND_HUB_NAME'), host: env('SECOND_HUB_HOST'), connectionString: env('SECOND_CONNECTION_STRING') };

export const registry = azureIothub.Registry.fromConnectionString(owner);
export const client = azureIothub.Client;

export const unique = (prefix) => `${prefix}-${randomUUID().slice(0, 8)}`;

/** sas signs a token for resource with a base64 key. */
export function sas(resource, key, ttlSeconds = 3600, policy) {
  const sr = encodeURIComponent(resource);
  const se = Math.floor(Date.now() / 1000) + ttlSeconds;
  const sig = encodeURIComponent(
    createHmac('sha256', Buffer.from(key, 'base64')).update(`${sr}\n${se}`).digest('base64'));
  return `SharedAccessSignature sr=${sr}&sig=${sig}&se=${se}` + (policy ? `&skn=${policy}` : '');
}

/** parts returns the fields of a connection string. */
export function parts(cs) {
  return Object.fromEntries(cs.split(';').map((p) => [p.slice(0, p.indexOf('=')), p.slice(p.indexOf('=') + 1)]));
}

function tokenOf(cs) {
  const p = parts(cs);
  return sas(p.HostName, p.SharedAccessKey, 3600, p.SharedAccessKeyName);
}

export const serviceToken = () => tokenOf(service);
export const ownerToken = () => tokenOf(owner);

/** request makes an HTTPS request and resolves to {status, headers, body}. */
export function request(method, url, { headers = {}, body, token = serviceToken() } = {}) {
  return new Promise((resolve, reject) => {
    const req = https.request(url, { method, headers: { Authorization: token, ...headers }, ca }, (res) => {
      const chunks = [];
      res.on('data', (c) => chunks.push(c));
      res.on('end', () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) }));
    });
    req.on('error', reject);
    req.end(body);
  });
}

/**
 * events resolves to the stored telemetry of a device once `enough(list)` holds,
 * reading from the start of the log; rejects after a time.
 */
export function events(deviceId, enough, timeoutMs = 60000, hub = { name: 'localhost', connectionString: service }) {
  return new Promise((resolve, reject) => {
    const seen = [];
    const url = `${adminUrl}/hubs/${hub.name}/events?from=earliest&device=${encodeURIComponent(deviceId)}`;
    const req = https.request(url, { headers: { Authorization: tokenOf(hub.connectionString) }, ca }, (res) => {
      if (res.statusCode !== 200) return fail(new Error(`event stream: ${res.statusCode}`));
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (c) => {
        text += c;
        for (let i; (i = text.indexOf('\n')) >= 0; text = text.slice(i + 1)) {
          const line = text.slice(0, i).trim();
          if (!line) continue;
          const e = JSON.parse(line);
          if (!e.deviceId) continue;
          seen.push(e);
          if (enough(seen)) { clearTimeout(timer); req.destroy(); return resolve(seen); }
        }
      });
    });
    const fail = (err) => { clearTimeout(timer); req.destroy(); reject(err); };
    const timer = setTimeout(() => fail(new Error(`telemetry of ${deviceId}: only ${seen.length} messages: ${JSON.stringify(seen).slice(0, 2000)}`)), timeoutMs);
    req.on('error', (err) => { if (!req.destroyed) fail(err); });
    req.end();
  });
}

/** command queues a cloud-to-device message over REST. */
export async function command(deviceId, body, headers = {}) {
  const r = await request('POST', `https://${host}/devices/${encodeURIComponent(deviceId)}/messages/deviceBound?api-version=2020-09-30`, { headers, body });
  if (r.status !== 204) throw new Error(`command: ${r.status} ${r.body}`);
}

export async function commandCount(deviceId) {
  return (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount;
}

async function admin(method, path, body) {
  const r = await request(method, `${adminUrl}/hubs/localhost${path}`, {
    token: ownerToken(), headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body),
  });
  if (r.status >= 300) throw new Error(`${method} ${path}: ${r.status} ${r.body}`);
  return r.body.length ? JSON.parse(r.body) : undefined;
}

/** policy resolves to the connection string of a policy of the hub. */
export async function policy(name) {
  return (await admin('GET', '/policies')).policies.find((p) => p.name === name).connectionString;
}

/** consumerGroup makes a consumer group for a test and resolves to its name. */
export async function consumerGroup(t, prefix) {
  const name = unique(prefix);
  await admin('PUT', `/consumer-groups/${name}`);
  t.after(() => admin('DELETE', `/consumer-groups/${name}`));
  return name;
}

/** killAndRestart ends the server with SIGKILL and resolves when a new one answers. */
export async function killAndRestart() {
  const r = await fetch(`${controlUrl}/restart`, { method: 'POST' });
  if (!r.ok) throw new Error(`restart: ${r.status} ${await r.text()}`);
}

/** stopAndRestart has the server end in order, as Ctrl-C does, and resolves when a new one answers. */
export async function stopAndRestart() {
  const r = await fetch(`${controlUrl}/restart?how=in-order`, { method: 'POST' });
  if (!r.ok) throw new Error(`restart: ${r.status} ${await r.text()}`);
}

/** thumbprintCert resolves to {cert, key, thumbprint} of a new self-signed certificate. */
export async function selfSigned(cn) {
  const r = await fetch(`${controlUrl}/certificate?kind=self&cn=${encodeURIComponent(cn)}`, { method: 'POST' });
  return r.json();
}

/**
 * tpm starts a TPM that ends with the test and resolves to {id, port, restart, clear,
 * renew}: restart takes its power away for a moment, clear gives it another storage
 * root key, renew another endorsement key too. It skips the test where there is none
 * to be had.
 */
export async function tpm(t) {
  const post = async (path) => {
    const r = await fetch(`${controlUrl}/tpm${path}`, { method: 'POST' });
    const text = await r.text();
    if (!r.ok && !(r.status === 501 && !process.env.CI)) throw new Error(`tpm${path}: ${r.status} ${text}`);
    return { missing: !r.ok && text, text };
  };
  const { missing, text } = await post('');
  if (missing) { t.skip(missing); return undefined; }
  const { id, port } = JSON.parse(text);
  t.after(() => post(`/stop?id=${id}`));
  return { id, port, restart: () => post(`/restart?id=${id}`), clear: () => post(`/clear?id=${id}`), renew: () => post(`/renew?id=${id}`) };
}

/** caSigned resolves to {cert, key} signed by an authority registered on the hub. */
export async function caSigned(cn) {
  const r = await fetch(`${controlUrl}/certificate?kind=ca&cn=${encodeURIComponent(cn)}`, { method: 'POST' });
  return r.json();
}

/**
 * chain resolves to {cert, key, root, intermediate}: a certificate, followed by the
 * authority that has signed it, that authority, and the one that has signed that.
 */
export async function chain(cn) {
  const r = await fetch(`${controlUrl}/certificate?kind=chain&cn=${encodeURIComponent(cn)}`, { method: 'POST' });
  return r.json();
}

export function deviceString(d) {
  return `HostName=${host};DeviceId=${d.deviceId};SharedAccessKey=${d.authentication.symmetricKey.primaryKey}`;
}

export function moduleString(m) {
  return `HostName=${host};DeviceId=${m.deviceId};ModuleId=${m.moduleId};SharedAccessKey=${m.authentication.symmetricKey.primaryKey}`;
}

export async function createDevice(prefix, authentication) {
  const d = { deviceId: unique(prefix) };
  if (authentication) d.authentication = authentication;
  return (await registry.create(d)).responseBody;
}

/** until polls fn until it returns something true. */
export async function until(what, fn, timeoutMs = 60000) {
  for (const end = Date.now() + timeoutMs; ;) {
    const v = await fn();
    if (v) return v;
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

/** once resolves with the first argument of the next event. */
/**
 * closed ends an Event Hubs client, and waits a moment for it: now and then one waits
 * a minute for the answer about its $cbs link, and then complains.
 */
export const closed = (c) => Promise.race([c.close().catch(() => {}), new Promise((resolve) => { setTimeout(resolve, 2000).unref(); })]);

export const once = (emitter, name, timeoutMs = 60000) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`timed out waiting for ${name}`)), timeoutMs).unref();
  emitter.once(name, (v) => { clearTimeout(timer); resolve(v); });
});

/** container makes a blob container of the hub and resolves to {uri, get, put}: its address, and reading and writing its blobs. */
export async function container(prefix) {
  const name = unique(prefix);
  const sign = async (grant) => {
    const a = await admin('POST', '/blob-signatures', { seconds: 600, ...grant });
    return [`https://${host}${a.path}`, a.query];
  };
  const blob = async (method, [base, query], path, extra, body, headers = {}) => {
    const r = await request(method, `${base}/${path}?${extra}${query}`, { token: '', headers: { 'x-ms-version': '2021-12-02', ...headers }, body });
    if (r.status >= 300) throw new Error(`${method} ${path}: ${r.status} ${r.body}`);
    return r.body.toString();
  };
  await blob('PUT', await sign({ permissions: 'c' }), name, 'restype=container&');
  const all = await sign({ container: name, permissions: 'rcwl' });
  return {
    uri: `${all[0]}?${all[1]}`,
    get: (n) => blob('GET', all, n, ''),
    put: (n, text) => blob('PUT', all, n, '', text, { 'x-ms-blob-type': 'BlockBlob', 'Content-Length': Buffer.byteLength(text) }),
  };
}
