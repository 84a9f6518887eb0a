// Package delivery brings routed messages to endpoints outside. Each endpoint of
// a hub has a queue on disk of its own, so that one that is slow or gone neither
// holds up devices nor other endpoints.
//
// It knows queues, retries, dead letters and health. It does not know which
// message goes where, nor how an endpoint is spoken to: that is the business of
// routes and of sinks.
//
//	Append ──▶ queue on disk ──▶ pump, one per partition ──▶ Sink.Send ──▶ checkpoint
//	   │ full                        │ refused for good, or too old
//	   └────────────▶ dead letters ◀─┘
//
// # Promises
//
// Append returns when the messages are on stable storage: in the queue, or, when
// that is full or broken, among the dead letters. It never waits for the
// endpoint. Messages are sent at least once. Those of one device are in one
// partition, whose messages are sent one batch after the other: they stay in
// order, but for those that are sent again after a crash, and those that became
// dead letters.
//
// The position up to which a partition was sent is stored after each batch, and
// a restart goes on from there.
//
// # When sending fails
//
// Errors of a sink say whether trying again makes sense. If it does, the batch is
// tried again, after a pause that doubles up to Policy.MaxBackoff, until a
// message is older than Policy.TTL: then it becomes a dead letter. If it does
// not, the messages of the batch are sent one by one, so that one that is refused
// takes no others along; it is tried Policy.MaxAttempts times and becomes a dead
// letter.
package delivery
