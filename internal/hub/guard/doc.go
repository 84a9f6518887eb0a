// Package guard decorates a [causeway.Hub]: [Meter] times what crosses the
// contract in both directions, [Trace] makes spans of it. A decorator knows
// the contract and nothing of the hub behind it, so it fits a cloud, a gateway
// and a remote hub alike; what only a hub itself can know (takeovers, presence,
// method outcomes) the hub counts on its own.
//
// Decorators add a small struct to each session and nothing to each message.
package guard

import "time"

// The operations of the contract, as labels and span names.
const (
	opConnect = iota
	opSend
	opTwin
	opReport
	opListen
	opSettle
	opRenew
	opDeliver
	opDesired
	opInvoke
	numOps
)

var opNames = [numOps]string{
	"connect", "send", "twin", "report", "listen", "settle", "renew", "deliver", "desired", "invoke",
}

// since is the seconds from a point in time until now.
func since(start time.Time) float64 { return time.Since(start).Seconds() }
