"""Commands with azure-iot-hub, which speaks AMQP through the C library uamqp."""

import unittest
import uuid
from unittest import mock

import uamqp
from azure.iot.device import IoTHubDeviceClient
from azure.iot.hub import IoTHubRegistryManager

import world


class CommandCases:
    transport = None

    def setUp(self):
        # uamqp trusts the authorities of certifi, and azure-iot-hub cannot tell it others.
        trust = mock.patch("certifi.where", return_value=world.CA_FILE)
        trust.start()
        self.addCleanup(trust.stop)

    def manager(self, cs=None):
        m = IoTHubRegistryManager.from_connection_string(cs or world.SERVICE, transport_type=self.transport)
        self.addCleanup(m.__del__)
        return m

    async def test_send(self):
        d = world.create_device("pycmd")
        c = IoTHubDeviceClient.create_from_connection_string(world.device_string(d), server_verification_cert=world.CA)
        self.addCleanup(c.shutdown)
        inbox = world.Inbox()
        c.on_message_received = inbox.put
        c.connect()
        m = self.manager()
        correlation = str(uuid.uuid4())
        m.send_c2d_message(d.device_id, "plain")
        m.send_c2d_message(d.device_id, "ü" * 1000, properties={
            "messageId": "m-1", "correlationId": correlation, "contentType": "text/plain", "contentEncoding": "utf-8",
            "iothub-ack": "full", "colour": "bläulich & rot"})
        await world.until("the commands", lambda: len(inbox) == 2)
        first, second = inbox.items
        self.assertEqual(first.data.decode(), "plain")
        self.assertEqual(first.custom_properties, {})
        uuid.UUID(first.message_id)  # the SDK makes one up
        self.assertEqual(second.data.decode(), "ü" * 1000)
        self.assertEqual(second.message_id, "m-1")
        self.assertEqual(second.correlation_id, correlation)
        self.assertEqual(second.content_type, "text/plain")
        self.assertEqual(second.content_encoding, "utf-8")
        self.assertEqual(second.ack, "full")
        self.assertEqual(second.custom_properties, {"colour": "bläulich & rot"})

    async def test_refusals(self):
        with self.assertRaises(Exception) as unknown:
            self.manager().send_c2d_message("no-such-device", "x")
        self.assertEqual(str(unknown.exception), "C2D message send failure")
        with self.assertRaises(uamqp.errors.AuthenticationException):
            self.manager(world.with_key(world.SERVICE, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")).send_c2d_message("d", "x")


class Commands(CommandCases, unittest.IsolatedAsyncioTestCase):
    transport = uamqp.TransportType.Amqp


class CommandsWebSocket(CommandCases, unittest.IsolatedAsyncioTestCase):
    transport = uamqp.TransportType.AmqpOverWebsocket
