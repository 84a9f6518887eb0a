"""Faults that a client asks for by message, as the suites of the SDKs do."""

import queue
import ssl
import threading
import time
import unittest

from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.device.exceptions import NoConnectionError
from azure.iot.hub.models import CloudToDeviceMethod

import world


def asking(kind):
    m = Message("fault")
    m.custom_properties["AzIoTHub_FaultOperationType"] = kind
    m.custom_properties["AzIoTHub_FaultOperationCloseReason"] = "boom"
    m.custom_properties["AzIoTHub_FaultOperationDelayInSecs"] = "1"
    m.custom_properties["AzIoTHub_FaultOperationDurationInSecs"] = "3"
    return m


class NetworkThreadDied(Exception):
    """The thread with which an MQTT client reads and writes is no more: paho takes
    an ssl.SSLEOFError, which Python before 3.11.9 raises when it writes to what the
    server has closed, for none of the network. All that is sent from then on waits
    without end."""


class Watch:
    """While it is entered, sees the network threads of clients die."""

    def __enter__(self):
        self.died, self._hook = threading.Event(), threading.excepthook
        threading.excepthook = self._see
        return self

    def __exit__(self, *_):
        threading.excepthook = self._hook

    def _see(self, args):
        if issubclass(args.exc_type, ssl.SSLEOFError):
            self.died.set()
        else:
            self._hook(args)

    def send(self, client, message):
        """Sends as client.send_message does, for as long as its thread lives."""
        result = queue.SimpleQueue()

        def work():
            try:
                result.put(client.send_message(message))
            except Exception as e:
                result.put(e)

        threading.Thread(target=work, daemon=True).start()
        while True:
            try:
                e = result.get(timeout=0.2)
            except queue.Empty:
                if self.died.is_set():
                    raise NetworkThreadDied from None
                continue
            if isinstance(e, Exception):
                raise e
            return


class Faults(unittest.TestCase):
    def check(self, kind, websockets):
        for last in (False, False, True):
            try:
                with Watch() as watch:
                    return self.once(watch, kind, websockets)
            except NetworkThreadDied:
                if last:
                    raise

    def once(self, watch, kind, websockets):
        d = world.create_device("pyfault")
        c = IoTHubDeviceClient.create_from_connection_string(
            world.device_string(d), server_verification_cert=world.CA, websockets=websockets, connection_retry_interval=1)
        self.addCleanup(lambda: watch.died.is_set() or c.shutdown())  # which would wait as well
        changes, commands = [], []
        c.on_connection_state_change = lambda: changes.append(c.connected)
        c.on_message_received = lambda m: commands.append(m.data.decode())
        c.on_method_request_received = lambda r: c.send_method_response(MethodResponse.create_from_method_request(r, 200, "pong"))
        c.connect()
        c.send_message("before")
        threading.Thread(target=c.send_message, args=(asking(kind),), daemon=True).start()
        if kind.startswith("Invoke"):
            time.sleep(1.2)
        else:
            # Connected, cut, and connected again: the client tells when it changed, and
            # by then it may have changed once more.
            deadline = time.monotonic() + 30
            while len(changes) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertGreaterEqual(len(changes), 3, "the connection was not cut")
        deadline = time.monotonic() + 60
        while True:  # while it is connecting again it refuses to send
            try:
                watch.send(c, "after")
                break
            except NoConnectionError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)
        world.command(d.device_id, "two")
        deadline = time.monotonic() + 30
        while "two" not in commands and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertIn("two", commands)
        got = world.service.invoke_device_method(
            d.device_id, CloudToDeviceMethod(method_name="ping", connect_timeout_in_seconds=20, response_timeout_in_seconds=20))
        self.assertEqual(got.status, 200)
        bodies = [e["body"] for e in world.events(d.device_id, lambda l: any(e["body"] == "after" for e in l))]
        self.assertNotIn("fault", bodies)

    def test_cut(self):
        for kind in ("KillTcp", "ShutDownMqtt"):
            for websockets in (False, True):
                with self.subTest(kind=kind, websockets=websockets):
                    self.check(kind, websockets)

    def test_refused(self):
        # Once it was refused to connect, the SDK does not try again: no InvokeAuthError.
        for kind in ("InvokeThrottling", "InvokeMaxMessageQuota"):
            with self.subTest(kind=kind):
                self.check(kind, False)


if __name__ == "__main__":
    unittest.main()
