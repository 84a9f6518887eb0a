package amqp

import (
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// Limits bounds what connections may use. A zero field means its default.
type Limits struct {
	// HalfOpen bounds connections whose client has proven nothing yet. At the
	// bound no further connection is accepted until one of them has or is gone;
	// those to come wait in the listener's backlog. Default 16384.
	HalfOpen int
	// Connections bounds all connections. Those above it are closed as they
	// are accepted. Default 1<<20.
	Connections int
	// Unclaimed is how long a connection may be without any token and any link
	// of a device. Default 1 min.
	Unclaimed time.Duration
	// Unlinked is the same for one whose client certificate is that of the
	// identity in its name. Default 1 h.
	Unlinked time.Duration
	// Registration is how long a device that registers may ask nothing, once it has
	// proven who it is; before it is Unclaimed. Default 10 min.
	Registration time.Duration
	// Tokens bounds the tokens of one connection. Default 1024.
	Tokens int
	// Links bounds the links of one connection. Default 8192.
	Links int
	// Credit is how many telemetry messages a client may have under way on one
	// link. Default 1000.
	Credit int
	// BatchMessages bounds the messages of one identity that are given to the
	// hub in one call. Default 512.
	BatchMessages int
	// TwinRequests bounds the twin requests of one identity that wait to be
	// answered. Default 32.
	TwinRequests int
	// Outbound bounds the bytes that wait to be written to one client. Who
	// wants to add more waits. Default 256 KiB.
	Outbound int
	// IdleTimeout is how long a client may at most be silent, as it is told. It
	// is disconnected after twice that. Default 4 min.
	IdleTimeout time.Duration
	// WriteStall is how long one write to a client may take before the client
	// counts as stuck and is disconnected, and how long what is sent to it waits
	// for its credit. Default 30 s.
	WriteStall time.Duration
	// StopGrace is how long connections may take to finish what they began
	// when the server stops. Default 10 s.
	StopGrace time.Duration
}

func (l Limits) withDefaults() Limits {
	def(&l.HalfOpen, 16<<10)
	def(&l.Connections, 1<<20)
	def(&l.Unclaimed, time.Minute)
	def(&l.Unlinked, time.Hour)
	def(&l.Registration, 10*time.Minute)
	def(&l.Tokens, 1024)
	def(&l.Links, 8192)
	def(&l.Credit, 1000)
	def(&l.BatchMessages, 512)
	def(&l.TwinRequests, 32)
	def(&l.Outbound, 256<<10)
	def(&l.IdleTimeout, 4*time.Minute)
	def(&l.WriteStall, 30*time.Second)
	def(&l.StopGrace, 10*time.Second)
	return l
}

func def[T int | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// Bounds that are no settings.
const (
	// maxTwinBytes bounds the bodies of one identity's waiting twin requests, but
	// for the last of them.
	maxTwinBytes = 256 << 10
	// maxTwinMessage bounds one twin request, with all its sections.
	maxTwinMessage = 256 << 10
	// maxMethodMessage bounds the answer of a method, with all its sections. An
	// answer that is somewhat too large is for the caller to hear of.
	maxMethodMessage = 2 * causeway.MaxMethodPayload
	// maxCBSMessage bounds a request to $cbs.
	maxCBSMessage = 64 << 10
	// halfOpenParts bounds what a client that has proven nothing may have sent in
	// part: some requests to $cbs. Others have knownParts, and deviceParts for each
	// identity with links, which is its largest message: those of many identities
	// may come side by side.
	halfOpenParts = 4 * maxCBSMessage
	knownParts    = 4 << 20
	deviceParts   = hubamqp.MaxTransfer
	// maxCBSLinks bounds the links of a connection for replies from $cbs.
	maxCBSLinks = 64
	// registrationCredit is how many requests of a device that registers may wait
	// for their answers, and maxRegistrationMessage bounds one, with all its
	// sections.
	registrationCredit     = 4
	maxRegistrationMessage = dpsjson.MaxRequest + 4<<10
	// unnamedPause is how long after its request came a client is answered that
	// did not name it.
	unnamedPause = 200 * time.Millisecond
	// cbsCredit is how many requests to $cbs may be under way on one link, and
	// maxCBSReplies how many replies of a connection may wait for credit.
	cbsCredit     = 100
	maxCBSReplies = 200
	// maxUnsettled bounds the commands of one link that are not settled. The hub
	// gives out fewer; those whose locks ran out are among them.
	maxUnsettled = 4 * causeway.MaxDeliveryInFlight
	// storesAtOnce is for how many identities of one connection messages are
	// stored at a time.
	storesAtOnce = 32
	// maxShown bounds what the log shows of an error.
	maxShown = 1 << 10
	// drainWait bounds the time that a drained link waits for the hub.
	drainWait = 10 * time.Second
)
