package events

import "time"

// Limits bounds what connections may use. A zero field means its default.
type Limits struct {
	// Readers bounds the readers of one partition in one consumer group.
	// Default 5.
	Readers int
	// Batch bounds the events that a reader is sent in one go, and BatchBytes
	// their bytes, but for a single larger event: so much memory does a reader
	// take while it is sent something. Defaults 512 and 512 KiB.
	Batch, BatchBytes int
	// ManagementLinks bounds the links to and from $management of one
	// connection. Default 64.
	ManagementLinks int
	// Replies bounds the replies of $management that wait for the peer to take
	// them, on one link; requests beyond it are rejected. Default 64.
	Replies int
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Readers, 5)
	def(&l.Batch, 512)
	def(&l.BatchBytes, 512<<10)
	def(&l.ManagementLinks, 64)
	def(&l.Replies, 64)
	return l
}

// Bounds that are no settings.
const (
	// usualEvent is how many bytes an event is taken to have before any was read.
	usualEvent = 4 << 10
	// maxRequest bounds a request to $management: a token is in it.
	maxRequest = 64 << 10
	// requestCredit is how many requests may be under way on one link.
	requestCredit = 32
	// maxShown bounds what an error shows of a name that there is not.
	maxShown = 256
	// lastWait bounds how long the last event of a partition is looked for, to
	// tell when it came.
	lastWait = 2 * time.Second
)
