package outbox

import "time"

// Bounds of the service.
const (
	// MaxRecords is how many feedback records one message holds.
	MaxRecords = 64
	// GatherDelay is how long the first record of a message waits for others.
	GatherDelay = 15 * time.Second

	// The settings of a queue, and their defaults.
	MinTTL               = time.Minute
	MaxTTL               = 48 * time.Hour
	DefaultTTL           = time.Hour
	MinLock              = 5 * time.Second
	MaxLock              = 300 * time.Second
	DefaultLock          = time.Minute
	MaxDeliveryCount     = 100
	DefaultDeliveryCount = 10

	// MaxLocked is how many messages of one queue may be with receivers at
	// once; those after them wait.
	MaxLocked = 1024

	// MaxField bounds the texts of a file notification, in bytes.
	MaxField = 8 << 10

	sweepInterval  = time.Second // how late the end of a lock may be noticed
	expireInterval = time.Minute // how often expired messages are deleted
	expireBatch    = 100         // messages, with their records, deleted in one transaction
	indexPage      = 128         // messages learned of at once
	maxWaiting     = 1_000_000   // how far Waiting counts
)

// Policy is how a hub treats one of its queues. Zero values mean the defaults.
type Policy struct {
	Disabled         bool          // nothing is queued
	TTL              time.Duration // of a message
	Lock             time.Duration // of a delivery that is not settled
	MaxDeliveryCount int           // abandoned deliveries before a message is gone
}

// withDefaults replaces what is zero, and what exceeds the limits.
func (p Policy) withDefaults() Policy {
	bound := func(d, low, high, otherwise time.Duration) time.Duration {
		if d <= 0 {
			return otherwise
		}
		return min(max(d, low), high)
	}
	p.TTL = bound(p.TTL, MinTTL, MaxTTL, DefaultTTL)
	p.Lock = bound(p.Lock, MinLock, MaxLock, DefaultLock)
	if p.MaxDeliveryCount <= 0 {
		p.MaxDeliveryCount = DefaultDeliveryCount
	}
	p.MaxDeliveryCount = min(p.MaxDeliveryCount, MaxDeliveryCount)
	return p
}
