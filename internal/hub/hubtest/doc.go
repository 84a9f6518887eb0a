// Package hubtest is the contract of [causeway.Hub] as tests, and a [Fake] that
// keeps it in memory.
//
// [Run] holds an implementation to what the comments of causeway.Hub, Session
// and Device promise. It looks at the platform behind the hub through an
// [Admin], so that it can be run on a cloud, on a gateway that stands on a
// cloud, and on a remote one. Time is real: what may take its way over a
// network is waited for, up to [Patience].
//
// [Recorder] is a Device that records what it is asked. The Fake is for tests
// of protocol heads: it answers like a hub, lets a test cause everything a hub
// may ask of a client, and fails where it is told to. A [Tap] in front of it
// shows what a head came with. [Null] is a hub to measure heads with.
package hubtest
