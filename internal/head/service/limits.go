package service

import (
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/outbox"
)

// Limits bounds what connections may use. A zero field means its default.
type Limits struct {
	// Credit is how many messages to devices one link may have under way.
	// Default 256.
	Credit int
	// Parallel bounds the devices that the messages of one burst, and the
	// deliveries that a peer settles at once, are dealt with for at the same
	// time. Default 32.
	Parallel int
	// Receivers bounds the links for feedback and file notifications of one
	// connection; further ones are refused. Default 64.
	Receivers int
	// Unsettled bounds the messages that one such link has sent and that the
	// peer has not settled; at the bound no more are sent. Default
	// outbox.MaxLocked.
	Unsettled int
	// SendWait is how long a message may wait for room on its way to a peer,
	// before others get it. Default 10 s.
	SendWait time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Credit, 256)
	def(&l.Parallel, 32)
	def(&l.Receivers, 64)
	def(&l.Unsettled, outbox.MaxLocked)
	if l.SendWait <= 0 {
		l.SendWait = 10 * time.Second
	}
	return l
}

// Bounds that are no settings.
const (
	// maxMessage bounds one message to a device, in bytes. It is more than may
	// be queued: so that what is too large by little is told so, and the link
	// stays.
	maxMessage = 1 << 20
	// retry is how long a queue that could not be read is left alone.
	retry = time.Second
)
