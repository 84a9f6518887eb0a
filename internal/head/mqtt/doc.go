// Package mqtt is the MQTT head: it translates between MQTT 3.1.1 clients, over
// TLS or WebSocket, and a [causeway.Hub], and for devices that are not on a hub
// yet a [causeway.Provisioner].
//
// It knows IoT Hub's use of MQTT: the topics, what is refused and how, which
// filters are granted, wills, and what a persistent session keeps. It does not
// know what lies behind the Hub, and it is not a broker: there is no topic tree
// and no retained message. Clients of MQTT 5 are told that their version is not
// supported (reason code 0x84).
//
// # A connection
//
// One short-lived goroutine makes the TLS handshake, reads the CONNECT packet
// and opens the session. Another one then reads the connection until its end;
// the deep stack of the handshake is gone with the first. While nothing
// arrives the reader is parked with two bytes of its own and no buffer. When
// something arrives it takes a pooled buffer, reads all that is there, sends
// consecutive telemetry as one batch to the hub, and when that is durable
// answers everything with one write:
//
//	idle ──bytes──▶ read all ──▶ decode all ──▶ Session.Send ──▶ PUBACKs ──▶ idle
//
// Who sends faster than the hub stores is not read meanwhile, so TCP slows it
// down. What the hub sends to the client is appended to a bounded queue and
// written by a goroutine that lives while the queue is not empty; the hub
// never waits for a socket, only for room.
//
// # Order
//
// Telemetry reaches the hub in the order of the packets. PUBACKs have the order
// of their PUBLISHes. Twin requests of one connection are answered one after the
// other, in a goroutine of their own so that telemetry flows on: two patches
// that a client has under way must take effect in the order it sent them,
// which concurrent calls of the hub do not promise. Patches of different
// connections run side by side, and share the store's commits.
//
// # Provisioning
//
// A device that is to be provisioned connects to the same ports; its user name
// tells. Such a connection has no session. It is read as any other, but what its
// client publishes are requests, each of which is judged for itself and answered
// before the next one is read (dps.go, dpsask.go).
//
// # Ends
//
// The first reason for an end is the one that counts: it is logged once and
// decides whether the will is published. It is, whenever the client went
// without a DISCONNECT, but for a stop of the server, which is no death of the
// client. Every refusal counts in the metric "refused" under one of the
// Reason constants.
package mqtt
