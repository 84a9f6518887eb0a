// What the tests of files share: uploading one as a device does, and hearing of
// it as a back end does.
import assert from 'node:assert/strict';
import azureIothub from 'azure-iothub';
import * as world from './world.mjs';

/** blobs resolves to an address with a signature, for a container or a blob. */
export async function blobs(container, permissions, blob = '') {
  const q = new URLSearchParams({ hub: 'localhost', container, permissions, blob });
  const r = await fetch(`${process.env.CONTROL_URL}/sas?${q}`, { method: 'POST' });
  if (!r.ok) throw new Error(`sas: ${r.status} ${await r.text()}`);
  const a = await r.json();
  return `https://${world.host}${a.path}?${a.query}`;
}

/** read resolves to the content of a blob. */
export async function read(container, name) {
  const r = await fetch(await blobs(container, 'r', name));
  if (!r.ok) throw new Error(`read ${name}: ${r.status} ${await r.text()}`);
  return Buffer.from(await r.arrayBuffer());
}

/** upload puts a file into the storage by plain requests, with the key of the device. */
export async function upload(d, name, content) {
  const at = `https://${world.host}/devices/${encodeURIComponent(d.deviceId)}/files`;
  const token = world.sas(`${world.host}/devices/${d.deviceId}`, d.authentication.symmetricKey.primaryKey);
  const headers = { 'Content-Type': 'application/json' };
  const t = await world.request('POST', `${at}?api-version=2021-04-12`, { token, headers, body: JSON.stringify({ blobName: name }) });
  assert.equal(t.status, 200, t.body.toString());
  const f = JSON.parse(t.body);
  const path = f.blobName.split('/').map(encodeURIComponent).join('/');
  const put = await fetch(`https://${f.hostName}/${f.containerName}/${path}${f.sasToken}`, {
    method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob' }, body: content,
  });
  assert.equal(put.status, 201, await put.text());
  const body = JSON.stringify({ correlationId: f.correlationId, isSuccess: true, statusCode: 201, statusDescription: 'done' });
  const n = await world.request('POST', `${at}/notifications?api-version=2021-04-12`, { token, headers, body });
  assert.equal(n.status, 204, n.body.toString());
  return f;
}

/** notifications returns those of a device, as they come. */
export async function notifications(t, deviceId, transport = azureIothub.Amqp) {
  const c = azureIothub.Client.fromConnectionString(world.service, transport);
  await c.open();
  t.after(() => c.close().catch(() => {}));
  const receiver = (await c.getFileNotificationReceiver()).result;
  const got = [];
  receiver.on('message', (m) => {
    const n = JSON.parse(m.getData().toString());
    if (n.deviceId === deviceId) got.push(n);
    receiver[n.deviceId === deviceId ? 'complete' : 'abandon'](m, () => {});
  });
  return got;
}

