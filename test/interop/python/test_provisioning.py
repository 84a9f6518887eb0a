"""Devices that are provisioned with azure-iot-device, which speaks MQTT, over TCP
and WebSocket, sync and aio; who was assigned then sends to its hub."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import azure.iot.device as sync_sdk
import azure.iot.device.aio as aio_sdk
from azure.iot.device import X509, exceptions

import world


def derived(key, registration_id):
    """The key of a device in a group."""
    mac = hmac.new(base64.b64decode(key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def own(**more):
    """An enrollment with keys that the service makes."""
    return {"attestation": {"type": "symmetricKey"}, **more}


class Webhook:
    """Allocates as answer says, given what it is asked: (status, body)."""

    def __init__(self, answer):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, body = answer(asked[-1])
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}/"
        self.custom = {
            "allocationPolicy": "custom",
            "customAllocationDefinition": {"webhookUrl": url, "apiVersion": "2019-03-31"},
        }

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class ProvisioningCases:
    """The cases; the classes below choose the client and the transport."""

    aio = False
    websockets = False

    @property
    def sdk(self):
        return aio_sdk if self.aio else sync_sdk

    def options(self):
        return {"server_verification_cert": world.CA, "websockets": self.websockets}

    def webhook(self, answer):
        hook = Webhook(answer)
        self.addCleanup(hook.close)
        return hook

    def files(self, cert):
        """Write a certificate and its key where the SDK wants them: in files."""
        d = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, d)
        c, k = os.path.join(d, "c.pem"), os.path.join(d, "k.pem")
        for path, text in ((c, cert["cert"]), (k, cert["key"])):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        return X509(cert_file=c, key_file=k)

    async def register(self, create, registration_id, proof, scope=None, payload=None):
        create = getattr(self.sdk.ProvisioningDeviceClient, create)
        c = create(world.DPS_HOST, registration_id, scope or world.DPS_ID_SCOPE, proof, **self.options())
        if payload is not None:
            c.provisioning_payload = payload
        return await (c.register() if self.aio else asyncio.to_thread(c.register))

    async def by_key(self, registration_id, key, **more):
        return await self.register("create_from_symmetric_key", registration_id, key, **more)

    async def by_certificate(self, registration_id, cert):
        return await self.register("create_from_x509_certificate", registration_id, self.files(cert))

    async def refused(self, what, registering):
        """Expect a registration to fail, for a reason that has what in it."""
        with self.assertRaises(exceptions.ClientError) as caught:
            await registering
        self.assertIn(what, str(caught.exception.__cause__))

    async def sends(self, result, create, *proof):
        state = result.registration_state
        create = getattr(self.sdk.IoTHubDeviceClient, create)
        if len(proof) == 1 and isinstance(proof[0], str):
            c = create(proof[0], state.assigned_hub, state.device_id, **self.options())
        else:
            c = create(*proof, state.assigned_hub, state.device_id, **self.options())
        if not self.aio:
            c = world.SyncClient(c)
        try:
            await c.connect()
            await c.send_message(f"from {state.device_id}")
        finally:
            await c.shutdown()
        await asyncio.to_thread(world.events, state.device_id, lambda l: len(l) >= 1)

    async def test_own_key(self):
        rid = world.unique("Py-own")
        e = world.put_enrollment(rid, own(deviceId=f"{rid}-on-hub"))
        for key in e["attestation"]["symmetricKey"].values():
            r = await self.by_key(rid, key)
            self.assertEqual(r.status, "assigned")
            self.assertEqual(r.registration_state.assigned_hub, world.HOST)
            self.assertEqual(r.registration_state.device_id, f"{rid}-on-hub")
            self.assertEqual(r.registration_state.sub_status, "initialAssignment")
            self.assertIn(world.HOST, str(r))
            await self.sends(r, "create_from_symmetric_key", key)

    async def test_key_of_a_group(self):
        group = world.unique("py-keys")
        g = world.put_group(group, own())
        self.addCleanup(world.delete_group, group)
        for key in g["attestation"]["symmetricKey"].values():
            rid = world.unique("py-member")
            r = await self.by_key(rid, derived(key, rid))
            self.assertEqual(r.registration_state.device_id, rid)
            await self.sends(r, "create_from_symmetric_key", derived(key, rid))

    async def test_own_certificate(self):
        rid = world.unique("py-leaf")
        both = [world.self_signed(rid), world.self_signed(rid)]
        certs = {name: {"certificate": c["cert"]} for name, c in zip(("primary", "secondary"), both)}
        world.put_enrollment(rid, {"attestation": {"type": "x509", "x509": {"clientCertificates": certs}}})
        for cert in both:
            r = await self.by_certificate(rid, cert)
            self.assertEqual(r.status, "assigned")
            await self.sends(r, "create_from_x509_certificate", self.files(cert))
        await self.refused("status code 401", self.by_certificate(rid, world.self_signed(rid)))

    async def test_certificate_of_a_group(self):
        rid = world.unique("py-chain")
        cert = world.chain(rid)
        signer = {"primary": {"certificate": cert["intermediate"]}}
        group = world.unique("py-signer")
        world.put_group(group, {"attestation": {"type": "x509", "x509": {"signingCertificates": signer}}})
        self.addCleanup(world.delete_group, group)
        r = await self.by_certificate(rid, cert)
        self.assertEqual(r.registration_state.device_id, rid)
        await self.sends(r, "create_from_x509_certificate", self.files(cert))
        await self.refused("status code 401", self.by_certificate(world.unique("py-chain"), cert))

    async def test_custom_allocation(self):
        hook = self.webhook(
            lambda q: (200, {"iotHubHostName": world.HOST, "payload": {"seen": q["deviceRuntimeContext"].get("payload")}})
        )
        for payload in ({"site": "ä", "n": [1, {"deep": True}]}, "text", 7):
            rid = world.unique("py-custom")
            key = world.put_enrollment(rid, own(**hook.custom))["attestation"]["symmetricKey"]["primaryKey"]
            r = await self.by_key(rid, key, payload=payload)
            self.assertEqual(hook.asked[-1]["deviceRuntimeContext"]["registrationId"], rid)
            self.assertEqual(hook.asked[-1]["deviceRuntimeContext"]["payload"], payload)
            self.assertEqual(json.loads(r.registration_state.response_payload), {"seen": payload})
        self.assertEqual(len(hook.asked), 3)

    async def test_failed(self):
        rid = world.unique("py-failed")
        hook = self.webhook(lambda _: (400, {}))
        key = world.put_enrollment(rid, own(**hook.custom))["attestation"]["symmetricKey"]["primaryKey"]
        r = "Query Status operation returned a failed registration status with a status code of 200"
        await self.refused(r, self.by_key(rid, key))

    async def test_disabled(self):
        rid = world.unique("py-blocked")
        world.put_enrollment(rid, own(provisioningStatus="disabled"))
        key = derived(world.DPS_GROUP_KEY, rid)
        r = "Query Status Operation encountered an invalid registration status disabled with a status code of 200"
        await self.refused(r, self.by_key(rid, key))

    async def test_patience(self):
        def decide(_):  # not before the first question; the second one comes too early
            time.sleep(3)
            return 200, {"iotHubHostName": world.HOST}

        rid = world.unique("py-patient")
        e = world.put_enrollment(rid, own(**self.webhook(decide).custom), service=world.THROTTLED)
        key = e["attestation"]["symmetricKey"]["primaryKey"]
        began = time.monotonic()
        r = await self.by_key(rid, key, scope=world.THROTTLED_ID_SCOPE)
        self.assertEqual(r.status, "assigned")
        self.assertGreater(time.monotonic() - began, 10)
        await self.sends(r, "create_from_symmetric_key", key)

    async def test_refusals(self):
        rid = world.unique("py-refused")
        key = derived(world.DPS_GROUP_KEY, rid)
        unauthorized = "register request returned a service error status code 401"
        await self.refused(unauthorized, self.by_key(rid, derived(world.DPS_GROUP_KEY, "another")))
        await self.refused("status code 404", self.by_key(rid, key, scope="0ne00000000"))


class SyncProvisioning(ProvisioningCases, unittest.IsolatedAsyncioTestCase):
    pass


class AioProvisioning(ProvisioningCases, unittest.IsolatedAsyncioTestCase):
    aio = True


class SyncProvisioningWebSocket(ProvisioningCases, unittest.IsolatedAsyncioTestCase):
    websockets = True


class AioProvisioningWebSocket(ProvisioningCases, unittest.IsolatedAsyncioTestCase):
    aio = True
    websockets = True
