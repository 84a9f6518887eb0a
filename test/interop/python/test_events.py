"""Readers of the Event Hubs-compatible endpoint with azure-eventhub: sync and
aio, AMQP and WebSocket, in Python and on the C library uamqp."""

import asyncio
import datetime
import json
import threading
import unittest
import uuid

import azure.eventhub as sync_sdk
import azure.eventhub.aio as aio_sdk
from azure.eventhub import TransportType
from azure.eventhub.exceptions import EventHubError
from azure.iot.device import IoTHubDeviceClient, Message

import world

class Sent:
    """Telemetry in every partition, which all the cases read."""

    lock = threading.Lock()
    bodies = None
    partitions = None
    start = None

    @classmethod
    def fill(cls):
        with cls.lock:
            if cls.bodies is not None:
                return
            cls.start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
            bodies = set()
            for _ in range(10):
                for _ in range(6):
                    bodies |= send(world.create_device("py"), 5)
                partitions = read_all(bodies)
                if len(partitions) == 4 and all(len(l) >= 5 for l in partitions.values()):
                    cls.bodies, cls.partitions = bodies, partitions
                    return
            raise AssertionError("the devices did not spread over the partitions")


def send(d, n):
    c = IoTHubDeviceClient.create_from_connection_string(world.device_string(d), server_verification_cert=world.CA)
    bodies = set()
    try:
        c.connect()
        for i in range(n):
            body = json.dumps({"device": d.device_id, "i": i})
            m = Message(body, message_id=f"{d.device_id}-{i}", content_type="application/json", content_encoding="utf-8")
            m.correlation_id = f"c{i}"
            m.custom_properties["n"] = str(i)
            c.send_message(m)
            bodies.add(body)
    finally:
        c.shutdown()
    return bodies


def read_all(bodies):
    """Return the events with these bodies by partition."""
    client = sync_sdk.EventHubConsumerClient.from_connection_string(world.EVENTS, "$Default", connection_verify=world.CA_FILE)
    partitions, seen, done = {}, set(), threading.Event()

    def on_batch(context, events):
        for e in events:
            if e.body_as_str() in bodies:
                seen.add(e.body_as_str())
                partitions.setdefault(context.partition_id, []).append(e)
        if seen == bodies:
            done.set()

    t = threading.Thread(target=client.receive_batch, args=(on_batch,), kwargs={"starting_position": Sent.start, "max_wait_time": 1})
    t.start()
    try:
        if not done.wait(60):
            raise AssertionError(f"only {len(seen)} of {len(bodies)} events")
    finally:
        client.close()
        t.join()
    return partitions


class EventCases:
    """The cases; the classes below choose the client and the transport."""

    aio = False
    websockets = False
    uamqp = False

    @classmethod
    def setUpClass(cls):
        Sent.fill()
        # The classes run side by side, and a partition has five readers at most.
        cls.group = cls.enterClassContext(world.ConsumerGroup("py"))

    def client(self, cs=None, group=None, store=None, **more):
        options = {"connection_verify": world.CA_FILE, "retry_total": 0, **more}
        if self.websockets:
            options["transport_type"] = TransportType.AmqpOverWebsocket
        if self.uamqp:
            options["uamqp_transport"] = True
        kind = aio_sdk.EventHubConsumerClient if self.aio else sync_sdk.EventHubConsumerClient
        c = kind.from_connection_string(cs or world.EVENTS, group or self.group, checkpoint_store=store, **options)
        self.addAsyncCleanup(self.call, c.close)
        return c

    async def call(self, f, *args, **kwargs):
        if self.aio:
            return await f(*args, **kwargs)
        return await asyncio.to_thread(f, *args, **kwargs)

    def reader(self, c, batch=True, on_events=None, **options):
        """Receive in the background; returns what has arrived so far."""
        r = Reader()

        def on_event(context, event):
            events = event if batch else [event]
            with r.lock:
                r.sizes.append(len(events))
                for e in events:
                    if e is not None:
                        r.events.append(e)
                        r.partition_ids.append(context.partition_id)
                r.last = context.last_enqueued_event_properties

        def on_error(context, error):
            with r.lock:
                r.errors.append(error)

        if self.aio:
            async def event_handler(context, event):
                on_event(context, event)
                if on_events:
                    await on_events(context, event if batch else [event])

            async def error_handler(context, error):
                on_error(context, error)
        else:
            def event_handler(context, event):
                on_event(context, event)
                if on_events:
                    on_events(context, event if batch else [event])

            error_handler = on_error

        options = {"on_error": error_handler, "max_wait_time": 1, **options}
        receive = c.receive_batch if batch else c.receive
        if self.aio:
            task = asyncio.ensure_future(receive(event_handler, **options))
        else:
            task = asyncio.ensure_future(asyncio.to_thread(receive, event_handler, **options))

        async def stop():
            await self.call(c.close)
            if self.aio:  # this one does not notice
                task.cancel()
            await asyncio.wait([task], timeout=20)

        self.addAsyncCleanup(stop)
        r.stop = stop
        return r

    async def until(self, what, fn, timeout=60):
        return await world.until(what, fn, timeout)

    async def test_properties(self):
        c = self.client()
        hub = await self.call(c.get_eventhub_properties)
        self.assertEqual(hub["partition_ids"], ["0", "1", "2", "3"])
        self.assertEqual(hub["eventhub_name"], c.eventhub_name)
        age = datetime.datetime.now(datetime.timezone.utc) - hub["created_at"]
        self.assertLess(abs(age.total_seconds()), 3600)
        self.assertEqual(await self.call(c.get_partition_ids), hub["partition_ids"])
        for partition, events in Sent.partitions.items():
            p = await self.call(c.get_partition_properties, partition)
            self.assertEqual((p["id"], p["eventhub_name"], p["is_empty"]), (partition, c.eventhub_name, False))
            self.assertGreaterEqual(p["last_enqueued_sequence_number"], events[-1].sequence_number)
            self.assertGreaterEqual(int(p["last_enqueued_offset"]), int(events[-1].offset))
            self.assertGreaterEqual(p["last_enqueued_time_utc"], events[-1].enqueued_time)
            self.assertGreaterEqual(events[0].sequence_number, p["beginning_sequence_number"])
        # On uamqp the client trips over its own feet when it has an error.
        with self.assertRaises(AttributeError if self.uamqp else EventHubError):
            await self.call(c.get_partition_properties, "99")

    async def test_all_partitions(self):
        r = self.reader(self.client(), starting_position=Sent.start)
        await self.until("all events", lambda: Sent.bodies <= {e.body_as_str() for e in r.snapshot()})
        own = [e for e in r.snapshot() if e.body_as_str() in Sent.bodies]
        self.assertEqual(len(own), len(Sent.bodies), "nothing comes twice")
        following = {}
        for e in own:
            body = e.body_as_json()
            device = body["device"]
            self.assertEqual(body["i"], following.get(device, 0))
            following[device] = body["i"] + 1
            system = {k.decode() if isinstance(k, bytes) else k: v for k, v in e.system_properties.items()}
            text = lambda v: v.decode() if isinstance(v, bytes) else v
            self.assertEqual(text(system["iothub-connection-device-id"]), device)
            self.assertEqual(text(system["iothub-message-source"]), "Telemetry")
            self.assertEqual(e.content_type, "application/json")
            self.assertEqual(e.correlation_id, f"c{body['i']}")
            self.assertEqual(e.message_id, f"{device}-{body['i']}")
            self.assertEqual({text(k): text(v) for k, v in e.properties.items()}, {"n": str(body["i"])})
            self.assertEqual(text(e.raw_amqp_message.properties.content_encoding), "utf-8")
        self.assertEqual(r.errors, [])

    async def first(self, partition, **options):
        c = self.client()
        r = self.reader(c, partition_id=partition, batch=False, **options)
        await self.until("an event", lambda: r.events)
        e = r.events[0]
        await r.stop()
        return e

    async def test_start_positions(self):
        partition = "0"
        events = Sent.partitions[partition]
        at = events[2]
        n = at.sequence_number
        p = await self.call(self.client().get_partition_properties, partition)

        async def check(want, **options):
            e = await self.first(partition, **options)
            self.assertTrue(want(e), f"{options}: {e}")

        await asyncio.gather(
            check(lambda e: e.sequence_number == n + 1, starting_position=n),
            check(lambda e: e.sequence_number == n, starting_position=n, starting_position_inclusive=True),
            check(lambda e: e.sequence_number == n + 1, starting_position=at.offset),
            check(lambda e: e.sequence_number == n, starting_position=at.offset, starting_position_inclusive=True),
        )
        await asyncio.gather(
            check(lambda e: e.sequence_number == p["beginning_sequence_number"], starting_position="-1"),
            check(lambda e: e.enqueued_time == at.enqueued_time, starting_position=at.enqueued_time, starting_position_inclusive=True),
            check(lambda e: e.enqueued_time > at.enqueued_time, starting_position=at.enqueued_time),
        )

    async def test_latest(self):
        r = self.reader(self.client(), starting_position="@latest")
        d = world.create_device("pylatest")
        sent = set()

        def arrived():
            sent.update(send(d, 1))  # the SDK does not tell when its links stand
            return any(e.body_as_str() in sent for e in r.snapshot())

        await self.until("a new event", lambda: asyncio.to_thread(arrived))
        self.assertFalse(Sent.bodies & {e.body_as_str() for e in r.snapshot()}, "nothing old")

    async def test_batches_and_last_event(self):
        partition = "1"
        before = await self.call(self.client().get_partition_properties, partition)
        r = self.reader(self.client(), partition_id=partition, starting_position="-1", max_batch_size=2, prefetch=2,
                        track_last_enqueued_event_properties=True)
        await self.until("five events", lambda: len(r.snapshot()) >= 5)
        self.assertLessEqual(max(r.sizes), 2)
        numbers = [e.sequence_number for e in r.snapshot()[:5]]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 5)))
        self.assertGreaterEqual(r.last["sequence_number"], before["last_enqueued_sequence_number"])
        self.assertGreaterEqual(int(r.last["offset"]), int(before["last_enqueued_offset"]))
        self.assertGreaterEqual(r.last["enqueued_time"], before["last_enqueued_time_utc"])
        self.assertLess(abs((datetime.datetime.now(datetime.timezone.utc) - r.last["retrieval_time"]).total_seconds()), 60)

    async def test_owner_level(self):
        with world.ConsumerGroup("pyowner") as group:
            options = {"partition_id": "2", "starting_position": "-1"}
            one = self.reader(self.client(group=group), owner_level=1, **options)
            await self.until("the first reader", lambda: one.events)
            two = self.reader(self.client(group=group), owner_level=2, **options)
            await self.until("the second reader", lambda: two.events)
            await self.until("the first to be told", lambda: one.errors)
            self.assertRegex(str(one.errors[0]), "link:stolen|LinkStolen")
            late = self.reader(self.client(group=group), owner_level=1, **options)
            await self.until("the third to be refused", lambda: late.errors)
            self.assertEqual(late.events, [])
            self.assertEqual(two.errors, [])
            for r in (one, two, late):
                await r.stop()

    async def test_checkpoints(self):
        store = (AioStore if self.aio else Store)()
        with world.ConsumerGroup("pycheck") as group:
            seen = []

            async def run(until):
                done = threading.Event()

                def take(events):
                    for e in events:
                        if len(seen) >= until:
                            done.set()
                            return
                        if e.body_as_str() in Sent.bodies:
                            seen.append(e.body_as_str())
                        yield e
                    if len(seen) >= until:
                        done.set()

                if self.aio:
                    async def on_events(context, events):
                        for e in take(events):
                            await context.update_checkpoint(e)
                else:
                    def on_events(context, events):
                        with Sent.lock:
                            for e in take(events):
                                context.update_checkpoint(e)

                c = self.client(group=group, store=store, load_balancing_interval=0.3, partition_ownership_expiration_interval=2,
                                load_balancing_strategy="greedy")
                r = self.reader(c, on_events=on_events, starting_position=Sent.start, max_batch_size=50)
                # One thread reads all partitions in turn, and waits a second for each
                # that has nothing when it is over a WebSocket.
                await self.until(f"{until} events", done.is_set, 120)
                await r.stop()
                store.owners.clear()  # else the next run waits until they are over

            half = len(Sent.bodies) // 2
            await run(half)
            self.assertEqual(len(seen), half)
            await run(len(Sent.bodies))
            self.assertEqual(sorted(seen), sorted(Sent.bodies), "each event once")

    async def test_refusals(self):
        wrong = world.with_key(world.EVENTS, "AAAA")
        with self.assertRaises(EventHubError):
            await self.call(self.client(wrong).get_eventhub_properties)
        r = self.reader(self.client(group="no-such-group"), partition_id="0", starting_position="-1")
        if self.aio:  # this client never tells, but tries again for ever
            await asyncio.sleep(2)
        else:
            await self.until("a refusal", lambda: r.errors)
        self.assertEqual(r.events, [])


class Reader:
    def __init__(self):
        self.lock = threading.Lock()
        self.events, self.errors, self.sizes, self.partition_ids = [], [], [], []
        self.last = None
        self.stop = None

    def snapshot(self):
        with self.lock:
            return list(self.events)


class Store(sync_sdk.CheckpointStore):
    """Ownership and checkpoints in memory: the interface is the SDK's."""

    def __init__(self):
        self.owners, self.points = {}, {}

    def list_ownership(self, *args, **kwargs):
        return list(self.owners.values())

    def claim_ownership(self, ownership_list, **kwargs):
        claimed = []
        for o in ownership_list:
            old = self.owners.get(o["partition_id"])
            if old and old["etag"] != o.get("etag"):
                continue
            own = {**o, "etag": uuid.uuid4().hex, "last_modified_time": datetime.datetime.now(datetime.timezone.utc).timestamp()}
            self.owners[o["partition_id"]] = own
            claimed.append(own)
        return claimed

    def update_checkpoint(self, checkpoint, **kwargs):
        self.points[checkpoint["partition_id"]] = checkpoint

    def list_checkpoints(self, *args, **kwargs):
        return list(self.points.values())


class AioStore(aio_sdk.CheckpointStore):
    def __init__(self):
        self._store = Store()
        self.owners = self._store.owners

    async def list_ownership(self, *args, **kwargs):
        return self._store.list_ownership()

    async def claim_ownership(self, ownership_list, **kwargs):
        return self._store.claim_ownership(ownership_list)

    async def update_checkpoint(self, checkpoint, **kwargs):
        self._store.update_checkpoint(checkpoint)

    async def list_checkpoints(self, *args, **kwargs):
        return self._store.list_checkpoints()


class SyncEvents(EventCases, unittest.IsolatedAsyncioTestCase):
    pass


class SyncEventsWebSocket(EventCases, unittest.IsolatedAsyncioTestCase):
    websockets = True


class SyncEventsUamqp(EventCases, unittest.IsolatedAsyncioTestCase):
    uamqp = True


class AioEvents(EventCases, unittest.IsolatedAsyncioTestCase):
    aio = True


class AioEventsWebSocket(EventCases, unittest.IsolatedAsyncioTestCase):
    aio = True
    websockets = True
