"""What the test modules share: the hub under test as its environment describes
it, reading stored telemetry, sending commands, and controlling the server."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import ssl
import threading
import time
import urllib.parse
import urllib.request
import uuid
from http.client import HTTPSConnection

from azure.iot.hub import IoTHubRegistryManager

HOST = os.environ["HUB_HOST"]
OWNER = os.environ["OWNER_CONNECTION_STRING"]
SERVICE = os.environ["SERVICE_CONNECTION_STRING"]
EVENTS = os.environ["EVENTS_CONNECTION_STRING"]
DPS_HOST = os.environ["DPS_HOST"]
DPS_ID_SCOPE = os.environ["DPS_ID_SCOPE"]
DPS = os.environ["DPS_CONNECTION_STRING"]
DPS_GROUP_KEY = os.environ["DPS_GROUP_KEY"]
THROTTLED_ID_SCOPE = os.environ["THROTTLED_ID_SCOPE"]
THROTTLED = os.environ["THROTTLED_CONNECTION_STRING"]
ADMIN_URL = os.environ["ADMIN_URL"]
CONTROL_URL = os.environ["CONTROL_URL"]
CA_FILE = os.environ["CA_FILE"]
with open(CA_FILE, encoding="ascii") as f:
    CA = f.read()

# The clients write an error with a trace for each connection that ends, as most
# of the cases want.
for name in ("azure", "uamqp"):
    logging.getLogger(name).setLevel(os.environ.get("SDK_LOG", "CRITICAL"))
logging.getLogger("asyncio").setLevel("ERROR")  # how long a callback took is of no interest

registry = IoTHubRegistryManager.from_connection_string(OWNER)
service = IoTHubRegistryManager.from_connection_string(SERVICE)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def sas(resource, key, ttl=3600, policy=None):
    sr = urllib.parse.quote(resource, safe="")
    se = str(int(time.time()) + ttl)
    mac = hmac.new(base64.b64decode(key), f"{sr}\n{se}".encode(), hashlib.sha256).digest()
    sig = urllib.parse.quote(base64.b64encode(mac), safe="")
    token = f"SharedAccessSignature sr={sr}&sig={sig}&se={se}"
    return token + (f"&skn={policy}" if policy else "")


def _token(cs):
    p = dict(x.split("=", 1) for x in cs.split(";"))
    return sas(p["HostName"], p["SharedAccessKey"], 3600, p["SharedAccessKeyName"])


def service_token():
    return _token(SERVICE)


def with_key(cs, key):
    """Return a connection string with another key."""
    return ";".join(f"SharedAccessKey={key}" if x.startswith("SharedAccessKey=") else x for x in cs.split(";"))


class ConsumerGroup:
    """A consumer group of the hub that is gone afterwards."""

    def __init__(self, prefix):
        self.name = unique(prefix)

    def _request(self, method):
        conn, path = _connection(20)
        try:
            conn.request(method, f"{path}/hubs/localhost/consumer-groups/{self.name}", headers={"Authorization": _token(OWNER)})
            res = conn.getresponse()
            text = res.read()
            if res.status >= 300:
                raise AssertionError(f"{method} consumer group: {res.status} {text}")
        finally:
            conn.close()

    def __enter__(self):
        self._request("PUT")
        return self.name

    def __exit__(self, *exc):
        self._request("DELETE")


def _connection(timeout):
    url = urllib.parse.urlsplit(ADMIN_URL)
    context = ssl.create_default_context(cadata=CA)
    return HTTPSConnection(url.hostname, url.port or 443, context=context, timeout=timeout), url.path


def events(device_id, enough, timeout=20):
    """Return the stored telemetry of a device once enough(list) holds."""
    seen = []
    deadline = time.monotonic() + timeout
    conn, path = _connection(timeout)
    try:
        query = urllib.parse.urlencode({"from": "earliest", "device": device_id})
        conn.request("GET", f"{path}/hubs/localhost/events?{query}", headers={"Authorization": service_token()})
        res = conn.getresponse()
        if res.status != 200:
            raise AssertionError(f"event stream: {res.status} {res.read(500)}")
        while time.monotonic() < deadline:
            line = res.readline()
            if not line:
                break
            line = line.strip()
            if not line:
                continue
            e = json.loads(line)
            if "deviceId" not in e:
                continue
            seen.append(e)
            if enough(seen):
                return seen
    finally:
        conn.close()
    raise AssertionError(f"telemetry of {device_id}: only {len(seen)} messages: {str(seen)[:2000]}")


def command(device_id, body, headers=None):
    """Queue a cloud-to-device message over REST."""
    conn, _ = _connection(20)
    try:
        conn.request(
            "POST",
            f"/devices/{urllib.parse.quote(device_id, safe='')}/messages/deviceBound?api-version=2020-09-30",
            body=body,
            headers={"Authorization": service_token(), **(headers or {})},
        )
        res = conn.getresponse()
        text = res.read()
        if res.status != 204:
            raise AssertionError(f"command: {res.status} {text}")
    finally:
        conn.close()


def _dps(method, path, body=None, service=DPS):
    conn, _ = _connection(20)
    try:
        host = dict(x.split("=", 1) for x in service.split(";"))["HostName"]
        headers = {"Authorization": _token(service), "Host": host, "Content-Type": "application/json"}
        conn.request(method, f"{path}?api-version=2021-10-01", body=body and json.dumps(body), headers=headers)
        res = conn.getresponse()
        text = res.read()
        if res.status >= 300:
            raise AssertionError(f"{method} {path}: {res.status} {text}")
        return json.loads(text) if text else None
    finally:
        conn.close()


def put_enrollment(registration_id, enrollment, service=DPS):
    """Create or replace an enrollment of a provisioning service, and return it."""
    return _dps("PUT", f"/enrollments/{registration_id}", {"registrationId": registration_id, **enrollment}, service)


def put_group(group, enrollment):
    """Create or replace an enrollment group, and return it."""
    return _dps("PUT", f"/enrollmentGroups/{group}", {"enrollmentGroupId": group, **enrollment})


def delete_group(group):
    _dps("DELETE", f"/enrollmentGroups/{group}")


def _control(path):
    with urllib.request.urlopen(urllib.request.Request(CONTROL_URL + path, method="POST"), timeout=60) as r:
        return r.read()


def kill_and_restart():
    _control("/restart")


def self_signed(cn):
    return json.loads(_control(f"/certificate?kind=self&cn={urllib.parse.quote(cn)}"))


def ca_signed(cn):
    return json.loads(_control(f"/certificate?kind=ca&cn={urllib.parse.quote(cn)}"))


def chain(cn):
    """Return a certificate followed by the authority that has signed it, that authority, and the one above."""
    return json.loads(_control(f"/certificate?kind=chain&cn={urllib.parse.quote(cn)}"))


def create_device(prefix):
    return registry.create_device_with_sas(unique(prefix), "", "", "enabled")


def device_string(d):
    return f"HostName={HOST};DeviceId={d.device_id};SharedAccessKey={d.authentication.symmetric_key.primary_key}"


def module_string(m):
    return (
        f"HostName={HOST};DeviceId={m.device_id};ModuleId={m.module_id};"
        f"SharedAccessKey={m.authentication.symmetric_key.primary_key}"
    )


async def until(what, fn, timeout=60):
    """Poll fn until it returns something true."""
    deadline = time.monotonic() + timeout
    while True:
        v = fn()
        if asyncio.iscoroutine(v):
            v = await v
        if v:
            return v
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}")
        await asyncio.sleep(0.02)


class SyncClient:
    """A synchronous client with the face of an asynchronous one."""

    _plain = {"connected"}

    def __init__(self, client):
        object.__setattr__(self, "_c", client)

    def __setattr__(self, name, value):
        setattr(self._c, name, value)

    def __getattr__(self, name):
        v = getattr(self._c, name)
        if name in self._plain or not callable(v):
            return v

        async def call(*args, **kwargs):
            return await asyncio.to_thread(v, *args, **kwargs)

        return call


class Inbox:
    """Collects what handlers receive, from threads or coroutines."""

    def __init__(self):
        self.items = []
        self._lock = threading.Lock()

    def put(self, item):
        with self._lock:
            self.items.append(item)

    def __len__(self):
        return len(self.items)


class Container:
    """A blob container of the hub: its address, and reading and writing its blobs."""

    def __init__(self, prefix):
        self.name = unique(prefix)
        path, query = self._sign(permissions="c")
        self._blob("PUT", f"{path}/{self.name}?restype=container&{query}")
        self._path, self._query = self._sign(container=self.name, permissions="rcwl")
        self.uri = f"https://{HOST}{self._path}?{self._query}"

    def _sign(self, **grant):
        conn, path = _connection(20)
        try:
            body = json.dumps({"seconds": 600, **grant})
            headers = {"Authorization": _token(OWNER), "Content-Type": "application/json"}
            conn.request("POST", f"{path}/hubs/localhost/blob-signatures", body=body, headers=headers)
            res = conn.getresponse()
            text = res.read()
            if res.status >= 300:
                raise AssertionError(f"sign: {res.status} {text}")
            access = json.loads(text)
            return access["path"], access["query"]
        finally:
            conn.close()

    def _blob(self, method, url, body=None, **headers):
        conn, _ = _connection(20)
        try:
            conn.request(method, url, body=body, headers={"x-ms-version": "2021-12-02", **headers})
            res = conn.getresponse()
            text = res.read()
            if res.status >= 300:
                raise AssertionError(f"{method} blob: {res.status} {text}")
            return text.decode()
        finally:
            conn.close()

    def get(self, name):
        return self._blob("GET", f"{self._path}/{name}?{self._query}")

    def put(self, name, text):
        self._blob("PUT", f"{self._path}/{name}?{self._query}", text.encode(), **{"x-ms-blob-type": "BlockBlob"})
