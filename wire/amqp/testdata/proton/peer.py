"""A peer for the tests of wire/amqp: `peer.py client <port>` talks to a server
of ours and exits with 0 when all was well; `peer.py server` prints its port, and
is one until its input ends."""

import os
import socket
import sys
import threading

from proton import Condition, Delivery, Endpoint, Message
from proton.handlers import MessagingHandler
from proton.reactor import AtLeastOnce, Container, LinkOption

SIZES = [0, 1, 100, 65_000, 65_536, 70_000, 300_000]
COUNT = 200


def body(i):
    return bytes([i & 0xFF]) * SIZES[i % len(SIZES)]


class Mode(LinkOption):
    """Settle modes of a link."""

    def __init__(self, snd, rcv):
        self.snd, self.rcv = snd, rcv

    def apply(self, link):
        link.snd_settle_mode, link.rcv_settle_mode = self.snd, self.rcv


class Client(MessagingHandler):
    """Sends messages of all sizes and receives them again; then settles by hand in
    both modes, drains, asks for a node that is not there, and idles."""

    def __init__(self, port):
        super().__init__(prefetch=20, auto_accept=True)
        self.url = "amqp://user:secret@127.0.0.1:" + port
        self.sent = self.got = self.accepted = 0
        self.step = "messages"
        self.failed = None

    def fail(self, why):
        self.failed = self.failed or why
        self.connection.close()

    def on_start(self, event):
        self.connection = event.container.connect(
            self.url, reconnect=False, heartbeat=2, allowed_mechs="PLAIN", allow_insecure_mechs=True, max_frame_size=4096)
        self.receiver = event.container.create_receiver(self.connection, "q")

    def on_link_opened(self, event):
        if event.link == self.receiver:
            self.sender = event.container.create_sender(self.connection, "q", options=AtLeastOnce())

    def on_sendable(self, event):
        if self.step == "messages" and event.sender == getattr(self, "sender", None):
            while self.sent < COUNT and event.sender.credit:
                event.sender.send(Message(id=self.sent, body=body(self.sent), inferred=True))
                self.sent += 1

    def on_accepted(self, event):
        if self.step == "messages":
            self.accepted += 1
            self.next()

    def on_rejected(self, event):
        if event.link == self.sender:
            self.fail("rejected")

    def on_released(self, event):
        if event.link == self.sender:
            self.fail("released")

    def on_message(self, event):
        if self.step == "messages":
            if event.message.id != self.got or bytes(event.message.body) != body(self.got):
                self.fail("message %s instead of %d" % (event.message.id, self.got))
            self.got += 1
            self.next()

    def next(self):
        if self.got == COUNT and self.accepted == COUNT:
            self.step = "closing"
            self.receiver.close()

    def on_link_closed(self, event):
        if event.link == self.receiver and self.step == "closing":
            Manual(self, 0).start(event.container)

    def on_link_error(self, event):
        if self.step == "nowhere" and event.link.remote_condition.name == "amqp:not-found":
            self.step = "idle"
            event.link.close()
            event.container.schedule(4.5, self)
            return
        self.fail("link: %s" % event.link.remote_condition)

    def nowhere(self, container):
        self.step = "nowhere"
        container.create_sender(self.connection, "nowhere")

    def on_timer_task(self, event):
        if not self.connection.state & Endpoint.REMOTE_ACTIVE:
            self.fail("the connection did not live")
        self.step = "over"
        self.connection.close()

    def on_connection_error(self, event):
        self.fail("connection: %s" % event.connection.remote_condition)

    def on_transport_error(self, event):
        self.fail("transport: %s" % event.transport.condition)


class Manual(MessagingHandler):
    """Receives with credit given by hand, settles in every way, then drains."""

    def __init__(self, client, mode):
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.client, self.mode, self.drain = client, mode, False
        self.left = [Delivery.ACCEPTED, Delivery.RELEASED, Delivery.REJECTED, Delivery.MODIFIED]

    def start(self, container):
        self.receiver = container.create_receiver(self.client.connection, "q", handler=self, options=Mode(2, self.mode))

    def on_link_opened(self, event):
        if event.link == self.receiver:
            self.more()

    def more(self):
        if self.left:
            self.receiver.flow(1)
            self.client.sender.send(Message(body=b"x", inferred=True))
        else:
            self.drain = True
            self.receiver.drain(5)

    def on_message(self, event):
        d = event.delivery
        d.local.failed = True
        d.local.condition = Condition("a:b")
        d.update(self.left.pop(0))
        if self.mode == 0:
            d.settle()
            self.more()

    def on_settled(self, event):
        if self.mode == 1:
            event.delivery.settle()
            self.more()

    def on_link_flow(self, event):
        if event.link == self.receiver and self.drain and self.receiver.credit == 0:
            self.drain = False
            self.receiver.close()

    def on_link_closed(self, event):
        if event.link != self.receiver:
            return
        if self.mode == 0:
            Manual(self.client, 1).start(event.container)
        else:
            self.client.nowhere(event.container)


class Server(MessagingHandler):
    """A container with queues."""

    def __init__(self):
        super().__init__(prefetch=15, auto_accept=False)
        self.queues = {}
        self.senders = {}

    def on_start(self, event):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        event.container.listen("127.0.0.1:%d" % port)
        print(port, flush=True)

    def on_connection_bound(self, event):
        event.transport.max_frame_size = 2048
        event.transport.idle_timeout = 2
        sasl = event.transport.sasl()
        sasl.allowed_mechs("ANONYMOUS")

    def on_connection_opened(self, event):
        if event.connection.remote_hostname == "redirect":
            event.connection.condition = Condition("amqp:connection:redirect", "not here", {"hostname": "there"})
            event.connection.close()

    def on_link_opening(self, event):
        link = event.link
        address = link.remote_source.address if link.is_sender else link.remote_target.address
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_sender:
            self.senders[address] = link

    def on_link_opened(self, event):
        if "nowhere" in (event.link.source.address, event.link.target.address):
            event.link.condition = Condition("amqp:not-found", "there is no such node")
            event.link.close()

    def on_link_closing(self, event):
        if event.link.is_sender:
            self.senders.pop(event.link.source.address, None)

    def on_sendable(self, event):
        self.pump(event.link.source.address)

    def on_link_flow(self, event):
        if event.link.is_sender and event.link.drain_mode:
            self.pump(event.link.source.address)
            event.link.drained()

    def pump(self, address):
        sender, queue = self.senders.get(address), self.queues.get(address, [])
        while sender and queue and sender.credit:
            sender.send(queue.pop(0))

    def on_message(self, event):
        m, d = event.message, event.delivery
        if m.subject == "reject":
            d.local.condition = Condition("com.example:no", "rejected")
            d.update(Delivery.REJECTED)
            d.settle()
            return
        if m.subject == "release":
            d.update(Delivery.RELEASED)
            d.settle()
            return
        if m.subject == "detach":
            event.link.condition = Condition("amqp:link:detach-forced", "go")
            event.link.close()
            return
        if m.subject == "close":
            event.connection.condition = Condition("amqp:connection:forced", "go")
            event.connection.close()
            return
        d.update(Delivery.ACCEPTED)
        d.settle()
        address = event.link.target.address
        self.queues.setdefault(address, []).append(m)
        self.pump(address)


def main():
    if sys.argv[1] == "client":
        client = Client(sys.argv[2])
        Container(client).run()
        if client.failed or client.step != "over":
            sys.exit("%s, at %s" % (client.failed, client.step))
        return

    def wait():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    Container(Server()).run()


if __name__ == "__main__":
    main()
