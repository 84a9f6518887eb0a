package c2d

import (
	"time"

	"github.com/causeway-iot/causeway"
)

// Bounds of the service.
const (
	// MaxTracked is how many queues are remembered as not empty. Beyond it a
	// Receive of an identity that is not remembered asks the store.
	MaxTracked = 100_000

	// MaxProperties is how many application properties a message may have.
	MaxProperties = 1024

	sweepInterval  = time.Second     // how late a lock or a time to live may be noticed
	settleInterval = time.Minute     // how often idle queues are unloaded
	reloadInterval = 5 * time.Minute // how often it is tried to know all queues again
	queuePage      = 1000            // identities read at once when queues are loaded
	expiryBatch    = 256             // expired messages read at once
	expiryWorkers  = 16              // queues swept at once, so that their writes share a commit
)

// Policy is how a hub treats its queues. Zero values mean the defaults of the
// limit catalogue.
type Policy struct {
	TTL              time.Duration // of messages without an expiry of their own
	MaxDeliveryCount int           // abandoned deliveries before a message is dead
	Lock             time.Duration // of a delivery that is not settled
}

// withDefaults replaces what is zero, and what exceeds the limits.
func (p Policy) withDefaults() Policy {
	if p.TTL <= 0 {
		p.TTL = causeway.DefaultCommandTTL
	}
	p.TTL = min(p.TTL, causeway.MaxCommandTTL)
	if p.MaxDeliveryCount <= 0 {
		p.MaxDeliveryCount = causeway.MaxDeliveryCount
	}
	if p.Lock <= 0 {
		p.Lock = causeway.CommandLock
	}
	return p
}
