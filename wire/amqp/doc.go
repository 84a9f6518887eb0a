// Package amqp is AMQP 1.0 (OASIS standard, ISO/IEC 19464) for both ends of a
// connection: SASL, connections, sessions, links, flow control and settlement.
// It serves and it dials; package codec below it turns values and frames into
// bytes.
//
// It knows parts 2 and 5 of the standard, and of part 3 what links need. It
// does not know what an address means, nor what is in a message: payloads are
// bytes. Whoever serves says so in a [Handler].
//
// # Serving
//
// [Serve] takes a network connection and calls the handler: with the peer's
// open, with each link that the peer wants to attach, with messages. All calls
// of one connection's handlers come from its one reader goroutine, one after
// the other; while a handler works, the connection is not read, and TCP slows
// the peer down. A handler may be slow, but must not wait for the peer.
//
// What has arrived together is handed over together: messages are borrowed
// from the read buffer until [Handler.Flush], which comes when all that has
// arrived was handed over, has returned. A handler that stores messages
// collects them, stores them as one batch in Flush, and settles them there;
// neighbouring settlements become one disposition, and everything that is to
// be said leaves with one write:
//
//	idle ──bytes──▶ Transfer, Transfer, … ──▶ Flush: store, Settle ──▶ dispositions, flows ──▶ idle
//
// # Sending
//
// [Sender.Send] waits for the peer's credit, for the session's window and for
// room in the outbound queue, and may be called from any goroutine but the
// reader's; there [Sender.TrySend] is for. What is queued is written together.
//
// The reader answers the peer by itself, and does not read on while the peer does
// not take its answers. It does not wait for what others have queued, so that two
// ends that send to each other as much as they can do not wait for each other.
//
// # Dialling
//
// [Dial] opens a connection, [Conn.Begin] a session, [Session.AttachSender] and
// [Session.AttachReceiver] links. [Sender.Deliver] waits for the outcome, and an
// [Inbox] gives what arrives to a goroutine that asks for it.
//
// # Bounds
//
// Frames, messages in part, links, sessions, queued bytes, unsettled deliveries
// and silent peers all have a limit in [Config] or in the options of a link. An
// idle connection holds no buffer, and its reader is parked on the smallest
// stack there is: with a session and eight links it costs 6 KB on a socket.
//
// # What is left out
//
// Transactions (part 4) are refused, and links keep no state when they are
// detached: an unsettled map of a peer is answered with none of ours, so that
// the peer sends again what it has not seen settled.
package amqp
