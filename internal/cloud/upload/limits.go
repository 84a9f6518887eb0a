package upload

import "time"

// Bounds of the service.
const (
	// MaxActive is how many tickets a device may have that are neither completed
	// nor expired.
	MaxActive = 10

	MinTTL     = time.Minute
	MaxTTL     = 24 * time.Hour
	DefaultTTL = time.Hour

	// DefaultContainer holds the files of devices.
	DefaultContainer = "uploads"

	// MaxDescription bounds what a device says about its upload, in bytes.
	MaxDescription = 4 << 10
	maxCorrelation = 128 // bytes that are looked up

	keepExpired    = 24 * time.Hour // for which an expired ticket is told from an unknown one
	expireInterval = time.Minute    // how often those are forgotten
	expireBatch    = 500            // tickets forgotten in one transaction
)

// Policy is how a hub treats uploads. Zero values mean the defaults.
type Policy struct {
	Disabled  bool          // there are no uploads
	Container string        // for the files
	TTL       time.Duration // of a ticket and the signature in it
}

// withDefaults replaces what is zero, and what exceeds the limits.
func (p Policy) withDefaults() Policy {
	if p.Container == "" {
		p.Container = DefaultContainer
	}
	if p.TTL <= 0 {
		p.TTL = DefaultTTL
	}
	p.TTL = min(max(p.TTL, MinTTL), MaxTTL)
	return p
}
