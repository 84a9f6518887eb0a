// Package outbox keeps what a hub has to say to its back ends, until one of
// them has taken it: the outcomes of cloud-to-device messages (feedback) and
// the files that devices have uploaded. Each hub has one durable queue of each
// kind, which any number of receivers share.
//
//	c2d records an outcome                 Notify
//	        │                                 │
//	        ▼ 64 records, or 15 s             ▼
//	     message ───────────────▶ free ◀── message
//	                              │  ▲
//	                      Receive │  │ lock over, Unlock
//	                              ▼  │ Settle: Released, count + 1
//	                            locked
//	                              │ Settle: Accepted, Rejected; Released for the last time
//	                              ▼
//	                             gone
//
// A message whose time is over is gone too, unless a receiver has it: then that
// one may still settle it.
//
// Locks live in memory. After a restart every message that was not settled is
// free again, its delivery count as it was.
//
// It does not know protocols, nor who receives.
package outbox
