"""Devices and modules with azure-iot-device: sync and aio, TCP and WebSocket."""

import asyncio
import datetime
import json
import os
import shutil
import tempfile
import unittest

import azure.iot.device as sync_sdk
import azure.iot.device.aio as aio_sdk
from azure.iot.device import Message, MethodResponse, X509
from azure.iot.device import exceptions
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

import world


def files(d, cert):
    """Write a certificate and key where the SDK wants them: in files."""
    c, k = os.path.join(d, "c.pem"), os.path.join(d, "k.pem")
    for path, text in ((c, cert["cert"]), (k, cert["key"])):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    return X509(cert_file=c, key_file=k)


class DeviceCases:
    """The cases; the classes below choose the client and the transport."""

    aio = False
    websockets = False

    def wrap(self, client):
        if not self.aio:
            client = world.SyncClient(client)
        self.addAsyncCleanup(client.shutdown)
        return client

    @property
    def sdk(self):
        return aio_sdk if self.aio else sync_sdk

    def options(self, **more):
        return {"server_verification_cert": world.CA, "websockets": self.websockets, "connection_retry_interval": 1, **more}

    def device(self, d, **more):
        return self.wrap(self.sdk.IoTHubDeviceClient.create_from_connection_string(world.device_string(d), **self.options(**more)))

    def x509(self, cert, device_id):
        d = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, d)
        return self.wrap(self.sdk.IoTHubDeviceClient.create_from_x509_certificate(files(d, cert), world.HOST, device_id, **self.options()))

    def handler(self, fn):
        """A handler of the kind this client wants."""
        if not self.aio:
            return fn

        async def coroutine(item):
            fn(item)

        return coroutine

    async def events(self, device_id, enough, timeout=20):
        return await asyncio.to_thread(world.events, device_id, enough, timeout)

    async def test_properties(self):
        d = world.create_device("props")
        c = self.device(d)
        await c.connect()
        m = Message(json.dumps({"t": 21.5}), message_id="mid-1", content_encoding="utf-8", content_type="application/json")
        m.correlation_id = "cid/ä 1"
        m.user_id = "user@example"
        m.custom_properties["plain"] = "value"
        m.custom_properties["with space & = %"] = "sign/ü?#+ %20"
        await c.send_message(m)
        (e,) = await self.events(d.device_id, lambda l: len(l) >= 1)
        self.assertEqual(e["deviceId"], d.device_id)
        want = {"message-id": "mid-1", "correlation-id": "cid/ä 1", "user-id": "user@example",
                "content-type": "application/json", "content-encoding": "utf-8"}
        for key, value in want.items():
            self.assertEqual(e["systemProperties"][key], value, key)
        self.assertEqual(e["annotations"]["iothub-connection-device-id"], d.device_id)
        self.assertEqual(e["annotations"]["iothub-connection-auth-generation-id"], d.generation_id)
        self.assertEqual(e["properties"], {"plain": "value", "with space & = %": "sign/ü?#+ %20"})
        self.assertEqual(e["body"], {"t": 21.5})

    async def test_rarer_properties(self):
        d = world.create_device("rare")
        # The SDK takes product information that begins like this for a model id.
        c = self.device(d, product_info="dtmi:com:example:Thermostat;1")
        await c.connect()
        m = Message("x")
        m.expiry_time_utc = "2031-02-03T04:05:06.789Z"
        # What Message has no field for is sent under the name of the topic.
        m.custom_properties["$.ctime"] = "2026-01-02T03:04:05.678Z"
        m.custom_properties["$.schema"] = "schema-1"
        m.custom_properties["$.sub"] = "thermostat1"  # how the SDK's samples name a component
        m.custom_properties["own"] = "kept"
        await c.send_message(m)
        security = Message("y")
        security.set_as_security_message()
        # A naive date is sent without a zone: it is UTC, as the field's name says.
        security.expiry_time_utc = datetime.datetime(2031, 2, 3, 4, 5, 6)
        security.custom_properties["iothub-creation-time-utc"] = "2026-01-02T03:04:05Z"
        await c.send_message(security)
        e, s = await self.events(d.device_id, lambda l: len(l) >= 2)
        self.assertEqual(e["systemProperties"]["absolute-expiry-time"], "2031-02-03T04:05:06.789Z")
        self.assertEqual(e["annotations"]["iothub-creation-time-utc"], "2026-01-02T03:04:05.678Z")
        self.assertEqual(e["annotations"]["iothub-message-schema"], "schema-1")
        self.assertEqual(e["annotations"]["dt-dataschema"], "dtmi:com:example:Thermostat;1")
        self.assertEqual(e["annotations"]["dt-subject"], "thermostat1")
        self.assertNotIn("iothub-interface-id", e["annotations"])
        self.assertEqual(e["properties"], {"own": "kept"})
        self.assertEqual(s["annotations"]["iothub-interface-id"], "urn:azureiot:Security:SecurityAgent:1")
        self.assertEqual(s["annotations"]["iothub-creation-time-utc"], "2026-01-02T03:04:05Z")
        self.assertEqual(s["systemProperties"]["absolute-expiry-time"], "2031-02-03T04:05:06.000Z")
        self.assertEqual(s["properties"], {})

    async def test_sizes(self):
        d = world.create_device("size")
        c = self.device(d, connection_retry=False)
        await c.connect()
        await c.send_message("")
        # The client refuses by the memory a message takes, so that only a text
        # of two-byte characters comes to 256 KB.
        largest = "ü" * (128 * 1024)
        await c.send_message(largest)
        stored = await self.events(d.device_id, lambda l: len(l) >= 2)
        self.assertEqual(stored[0]["body"], "")
        self.assertTrue(stored[1]["body"] == largest)
        with self.assertRaises(ValueError):
            await c.send_message("x" * (256 * 1024 + 1))
        # One byte more the client lets through. The hub can only hang up.
        with self.assertRaises(exceptions.OperationCancelled):
            await c.send_message(largest + "x")
        # This client would send the message again with each of its connections.
        after = self.device(d)
        await after.connect()
        await after.send_message("after")
        stored = await self.events(d.device_id, lambda l: any(e["body"] == "after" for e in l))
        self.assertEqual(len(stored), 3, "the oversized message must not be stored")

    async def test_module(self):
        d = world.create_device("mod")
        m = world.registry.create_module_with_sas(d.device_id, "m1", "", "", "")
        c = self.wrap(self.sdk.IoTHubModuleClient.create_from_connection_string(world.module_string(m), **self.options()))
        await c.connect()
        await c.send_message("from module")
        (e,) = await self.events(d.device_id, lambda l: len(l) >= 1)
        self.assertEqual(e["moduleId"], "m1")
        self.answer_methods(c)
        r = await asyncio.to_thread(
            world.service.invoke_device_module_method, d.device_id, "m1",
            CloudToDeviceMethod(method_name="echo", payload={"x": 1}, response_timeout_in_seconds=10, connect_timeout_in_seconds=10))
        self.assertEqual((r.status, r.payload), (200, {"x": 1}))
        await c.patch_twin_reported_properties({"alive": True})
        twin = world.service.get_module_twin(d.device_id, "m1")
        self.assertEqual(twin.properties.reported["alive"], True)
        self.assertEqual((await c.get_twin())["reported"]["alive"], True)
        inbox = world.Inbox()
        c.on_twin_desired_properties_patch_received = self.handler(inbox.put)

        def notified():
            world.service.update_module_twin(d.device_id, "m1", Twin(properties=TwinProperties(desired={"mode": "b"})), "*")
            return len(inbox) > 0

        await world.until("the subscription to work", notified)
        self.assertEqual(inbox.items[0]["mode"], "b")

    def answer_methods(self, client):
        if self.aio:
            async def on_method(req):
                await client.send_method_response(MethodResponse.create_from_method_request(req, 200, req.payload))
        else:
            def on_method(req):
                client._c.send_method_response(MethodResponse.create_from_method_request(req, 200, req.payload))
        client.on_method_request_received = on_method

    async def test_sas_token_and_renewal(self):
        d = world.create_device("sas")
        keys = d.authentication.symmetric_key
        resource = f"{world.HOST}/devices/{d.device_id}"
        c = self.wrap(self.sdk.IoTHubDeviceClient.create_from_sastoken(world.sas(resource, keys.primary_key, 900), **self.options()))
        inbox = world.Inbox()
        c.on_message_received = self.handler(inbox.put)
        await c.connect()
        sent, sending = [], []
        for n in range(4):
            for i in range(10):
                sent.append(f"{n}-{i}")
                sending.append(asyncio.ensure_future(c.send_message(sent[-1])))
            # The messages are on their way while the client changes its token.
            await c.update_sastoken(world.sas(resource, keys.primary_key if n % 2 else keys.secondary_key, 1000 + n))
        await asyncio.gather(*sending)
        # What was not acknowledged in time is sent again, so that it may come twice.
        await self.events(d.device_id, lambda l: {e["body"] for e in l} == set(sent))
        world.command(d.device_id, "still subscribed")
        await world.until("a command after renewal", lambda: len(inbox) == 1)

    async def test_automatic_renewal(self):
        d = world.create_device("renew")
        # The client renews a token two minutes before its end.
        c = self.device(d, sastoken_ttl=121)
        inbox = world.Inbox()
        c.on_message_received = self.handler(inbox.put)
        await c.connect()
        sent, connected = [], set()

        async def renewed():
            sent.append(f"m{len(sent)}")
            await c.send_message(sent[-1])
            connected.add(world.registry.get_device(d.device_id).connection_state_updated_time)
            return len(connected) >= 3

        await world.until("two renewals", renewed)
        # What was not acknowledged in time is sent again, so that it may come twice.
        await self.events(d.device_id, lambda l: {e["body"] for e in l} == set(sent))
        world.command(d.device_id, "still subscribed")
        await world.until("a command after renewal", lambda: len(inbox) == 1)

    async def test_x509_thumbprint(self):
        device_id = world.unique("x509")
        cert = world.self_signed(device_id)
        world.registry.create_device_with_x509(device_id, cert["thumbprint"], cert["thumbprint"], "enabled")
        c = self.x509(cert, device_id)
        await c.connect()
        await c.send_message("x")
        (e,) = await self.events(device_id, lambda l: len(l) >= 1)
        self.assertEqual(json.loads(e["annotations"]["iothub-connection-auth-method"])["type"], "x509")
        with self.assertRaises(exceptions.CredentialError):
            await self.x509(world.self_signed(device_id), device_id).connect()

    async def test_x509_authority(self):
        device_id = world.unique("ca")
        world.registry.create_device_with_certificate_authority(device_id, "enabled")
        c = self.x509(world.ca_signed(device_id), device_id)
        await c.connect()
        await c.send_message("x")
        await self.events(device_id, lambda l: len(l) >= 1)
        with self.assertRaises(exceptions.CredentialError):
            await self.x509(world.ca_signed(device_id + "-other"), device_id).connect()

    async def test_commands(self):
        d = world.create_device("c2d")
        expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        world.command(d.device_id, "while offline", {
            "iothub-messageid": "c-0", "iothub-userid": "me", "iothub-expiry": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "iothub-app-colour": "blue & red", "iothub-ack": "full"})
        c = self.device(d)
        inbox = world.Inbox()
        c.on_message_received = self.handler(inbox.put)
        await c.connect()
        await world.until("the queued command", lambda: len(inbox) == 1)
        for i in range(1, 6):
            world.command(d.device_id, f"n{i}", {
                "iothub-messageid": f"c-{i}", "iothub-correlationid": "k/1",
                "iothub-contenttype": "text/plain", "iothub-contentencoding": "utf-8"})
        await world.until("all commands", lambda: len(inbox) == 6)
        got = inbox.items
        self.assertEqual([m.data.decode() for m in got], ["while offline", "n1", "n2", "n3", "n4", "n5"])
        self.assertEqual(got[0].message_id, "c-0")
        self.assertEqual(got[0].user_id, "me")
        self.assertEqual(got[0].ack, "full")
        self.assertEqual(got[0].expiry_time_utc, expiry.strftime("%Y-%m-%dT%H:%M:%S.0000000Z"))
        self.assertEqual(got[0].custom_properties, {"colour": "blue & red"})
        self.assertEqual(got[1].correlation_id, "k/1")
        self.assertEqual(got[1].content_type, "text/plain")
        self.assertEqual(got[1].content_encoding, "utf-8")
        await world.until("an empty queue", lambda: world.registry.get_device(d.device_id).cloud_to_device_message_count == 0)

    async def test_methods(self):
        d = world.create_device("method")
        call = lambda payload, **t: asyncio.to_thread(
            world.service.invoke_device_method, d.device_id,
            CloudToDeviceMethod(method_name="echo", payload=payload, response_timeout_in_seconds=t.get("response", 10), connect_timeout_in_seconds=t.get("connect", 10)))
        with self.assertRaises(Exception) as offline:
            await call(1, connect=0)
        self.assertEqual(offline.exception.response.status_code, 404)
        c = self.device(d)
        await c.connect()
        self.answer_methods(c)
        payload = {"a": [1, "zwei", None, {"b": 1.25}]}
        r = await call(payload)
        self.assertEqual((r.status, r.payload), (200, payload))
        silent = lambda req: None
        c.on_method_request_received = self.handler(silent)
        with self.assertRaises(Exception) as slow:
            await call(1, response=5)
        self.assertEqual(slow.exception.response.status_code, 504)

    async def test_twin(self):
        d = world.create_device("twin")
        update = lambda desired: world.service.update_twin(d.device_id, Twin(properties=TwinProperties(desired=desired)), "*")
        update({"interval": 5, "nested": {"a": 1, "b": 2}})
        c = self.device(d)
        inbox = world.Inbox()
        c.on_twin_desired_properties_patch_received = self.handler(inbox.put)
        await c.connect()
        twin = await c.get_twin()
        self.assertEqual(twin["desired"], {"interval": 5, "nested": {"a": 1, "b": 2}, "$version": 2})
        self.assertEqual(twin["reported"], {"$version": 1})
        await c.patch_twin_reported_properties({"fw": "1.0", "list": [1, 2], "deep": {"x": {"y": True}}})
        await c.patch_twin_reported_properties({"fw": None, "deep": {"x": {"z": "ü"}}})
        stored = world.service.get_twin(d.device_id).properties.reported
        self.assertEqual(stored["deep"], {"x": {"y": True, "z": "ü"}})
        self.assertNotIn("fw", stored)
        self.assertEqual(stored["$version"], 3)
        with self.assertRaises(Exception):
            await c.patch_twin_reported_properties({"bad.key": 1})
        update({"interval": 6, "nested": {"b": None}})
        await world.until("the notification", lambda: len(inbox) == 1)
        self.assertEqual(inbox.items[0], {"interval": 6, "nested": {"b": None}, "$version": 3})

    async def test_twin_changed_while_away(self):
        d = world.create_device("away")
        update = lambda desired: world.service.update_twin(d.device_id, Twin(properties=TwinProperties(desired=desired)), "*")
        c = self.device(d)
        inbox = world.Inbox()
        await c.connect()
        await c.get_twin()  # subscribes to answers; the client itself asks without a subscription else
        c.on_twin_desired_properties_patch_received = self.handler(inbox.put)
        await c.disconnect()
        update({"interval": 7})
        await c.connect()
        # The client gets the twin after each connection and makes a notification of a new version.
        await world.until("the change", lambda: any(i.get("interval") == 7 for i in inbox.items))
        update({"interval": 8})
        await world.until("the notification", lambda: any(i.get("interval") == 8 for i in inbox.items))

    async def test_kill_and_restart(self):
        d = world.create_device("kill")
        c = self.device(d)
        inbox = world.Inbox()
        c.on_message_received = self.handler(inbox.put)
        await c.connect()
        self.answer_methods(c)
        world.command(d.device_id, "before")
        await world.until("a command", lambda: len(inbox) == 1)
        acknowledged = []

        async def send():
            # What the client refuses while it has no connection is not acknowledged.
            body = f"m{len(acknowledged)}"
            try:
                await c.send_message(body)
            except (exceptions.ConnectionDroppedError, exceptions.NoConnectionError,
                    exceptions.ConnectionFailedError, exceptions.OperationCancelled):
                return False
            acknowledged.append(body)
            return True

        for _ in range(50):
            self.assertTrue(await send())
        restart = asyncio.ensure_future(asyncio.to_thread(world.kill_and_restart))
        while not restart.done():
            await world.until("the client to come back", send)
        await restart
        for _ in range(20):
            await world.until("the client to come back", send)
        await self.events(d.device_id, lambda l: set(acknowledged) <= {e["body"] for e in l})
        world.command(d.device_id, "after")
        await world.until("a command after the restart", lambda: any(m.data == b"after" for m in inbox.items))
        r = await asyncio.to_thread(
            world.service.invoke_device_method, d.device_id,
            CloudToDeviceMethod(method_name="echo", payload=1, response_timeout_in_seconds=10, connect_timeout_in_seconds=10))
        self.assertEqual((r.status, r.payload), (200, 1))

    async def test_refusals(self):
        d = world.create_device("refuse")
        wrong = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
        for cs in (
            f"HostName={world.HOST};DeviceId={d.device_id};SharedAccessKey={wrong}",
            f"HostName={world.HOST};DeviceId=no-such-device;SharedAccessKey={wrong}",
        ):
            c = self.wrap(self.sdk.IoTHubDeviceClient.create_from_connection_string(cs, **self.options()))
            with self.assertRaises(exceptions.CredentialError):
                await c.connect()
        c = self.device(d, connection_retry=False)
        await c.connect()
        world.registry.update_device_with_sas(d.device_id, d.etag, d.authentication.symmetric_key.primary_key,
                                              d.authentication.symmetric_key.secondary_key, "disabled")
        await world.until("the connection to drop", lambda: not c.connected)
        with self.assertRaises(exceptions.CredentialError):
            await c.connect()


class SyncTcp(DeviceCases, unittest.IsolatedAsyncioTestCase):
    pass


class SyncWebSocket(DeviceCases, unittest.IsolatedAsyncioTestCase):
    websockets = True


class AioTcp(DeviceCases, unittest.IsolatedAsyncioTestCase):
    aio = True


class AioWebSocket(DeviceCases, unittest.IsolatedAsyncioTestCase):
    aio = True
    websockets = True
