// Package cloudhub is the Hub of the cloud: it opens sessions for devices and
// modules on the registry, the event log and the command queues of one hub, and
// calls back into connected devices. A [Set] holds the hubs of one process and
// chooses among them by host name.
//
// It knows identities, sessions and the order of things. It does not know wire
// protocols, nor how records, messages and twins are kept.
//
// # The life of a session
//
//	        Connect: authenticate ─▶ claim presence ─▶ look again
//	                                                      │ unchanged
//	                                                      ▼
//	   Listen, Send, Twin, Report, Settle, Renew ◀──▶  [ open ]
//	                                                      │
//	Close · takeover · expiry · identity changed · drain · slow device
//	                                                      ▼
//	   locks given back, presence withdrawn,          [ ended ]
//	   callbacks cancelled, Device.Hangup
//
// An identity has one open session: a newer connection ends the older one, and
// nothing that the older one still does has an effect, because every method
// looks at the end first and [presence.Table.Release] only counts for the
// holder. Connect reads the record again after it has claimed presence. A
// change of the identity is thus either seen by that second look, or comes
// later, finds the session in the table and ends it.
//
// # What an idle session costs
//
// No goroutine and no timer: token expiries share one heap and one timer,
// commands, desired changes and methods run on goroutines that end when there
// is nothing more to do.
//
// # Slow devices
//
// Desired changes wait in a queue per session, so that a slow device never
// holds up a writer of its twin. When [MaxPendingDesired] changes or
// [MaxPendingDesiredBytes] wait, or a change cannot be handed over, the session
// is hung up; the client connects again and reads its whole twin, as every
// client does. Commands wait in their durable queue; at most
// [causeway.MaxDeliveryInFlight] are unsettled on a session.
package cloudhub
