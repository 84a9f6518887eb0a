// Package c2d keeps the cloud-to-device messages of each device or module in a
// durable first-in-first-out queue: locks, time to live, delivery counts and
// dead-lettering. It records the feedback their senders asked for together with
// the outcome; the package outbox takes it from there.
//
// It knows queues of registered identities. It does not know who is connected,
// nor protocols: a [Watcher] hears that there is something to receive.
//
//	          Enqueue
//	             │
//	             ▼          Receive
//	        ┌─ queued ────────────────▶ locked ──── Settle: Accepted ──▶ done (Success)
//	        │    ▲ ▲                     │ │ │
//	expired │    │ └── lock over, Unlock ┘ │ └───── Settle: Rejected ──▶ dead (Rejected)
//	        │    └──── Settle: Released ───┘
//	        ▼          count + 1, at the maximum ──▶ dead (DeliveryCountExceeded)
//	 dead (Expired)                           Purge ──▶ dead (Purged)
//
// A message whose time is over while it is locked is left to the client that
// has it: it is dead-lettered only when it is free again.
//
// Locks live in memory. After a restart every unsettled message is queued
// again, its delivery count as it was.
package c2d
