package mqtt

import (
	"math"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
)

// Limits bounds what connections may use. A zero field means its default.
type Limits struct {
	// HalfOpen bounds connections that have not been authenticated yet. At the
	// bound no further connection is accepted until one of them is through or
	// gone, at the latest after causeway.ConnectDeadline; those to come wait in
	// the listener's backlog. Default 16384.
	HalfOpen int
	// Connections bounds all connections. Those above it are closed as they
	// are accepted. Default 1<<20.
	Connections int
	// Provisioning bounds the connections of the provisioning service, which is
	// open to everybody. Those above it are told to come again. Default 16384.
	Provisioning int
	// BatchMessages bounds the messages of one connection that are given to
	// the hub in one call. Default 128.
	BatchMessages int
	// Outbound bounds the bytes that wait to be written to one client. Who
	// wants to add more waits. Default 1 MiB, which is above a full window of
	// the largest commands.
	Outbound int
	// TwinRequests bounds the twin requests of one connection that wait to be
	// answered. At the bound the connection is not read. Default 32.
	TwinRequests int
	// WriteStall is how long one write to a client may take before the client
	// counts as stuck and is disconnected. Default 30 s.
	WriteStall time.Duration
	// StopGrace is how long connections may take to finish what they began
	// when the server stops. Default 10 s.
	StopGrace time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.HalfOpen, 16<<10)
	def(&l.Connections, 1<<20)
	def(&l.Provisioning, 16<<10)
	def(&l.BatchMessages, 128)
	def(&l.Outbound, 1<<20)
	def(&l.TwinRequests, 32)
	if l.WriteStall <= 0 {
		l.WriteStall = 30 * time.Second
	}
	if l.StopGrace <= 0 {
		l.StopGrace = 10 * time.Second
	}
	return l
}

// Bounds that are no settings.
const (
	// maxConnect bounds the remaining length of the first packet: a user name, a
	// password and a will of the largest size, and some room.
	maxConnect = 192 << 10
	// maxPacket bounds the remaining length of a packet: the largest body, the
	// longest topic, and the fields around them. What the two may have together
	// is the message's limit, see causeway.Message.Size.
	maxPacket = causeway.MaxMessageSize + math.MaxUint16 + 4
	// maxProvisioningPacket bounds it on connections of the provisioning service:
	// a request, and what is around it. Who sends it need not be known.
	maxProvisioningPacket = dpsjson.MaxRequest + 4<<10
	// provisioningIdle is how long a client may ask the provisioning service for
	// nothing once it has proved who it is.
	provisioningIdle = 10 * time.Minute
	// answerDelay is how long after it came a request of QoS 0 is answered at the
	// earliest, see ask.
	answerDelay = 200 * time.Millisecond
	// askAgain is when a device is to ask again whom the provisioning service
	// cannot answer now, unless it says when.
	askAgain = 5 * time.Second
	// maxTwinBytes bounds the bodies of one connection's waiting twin requests,
	// but for the last of them.
	maxTwinBytes = 256 << 10
	// maxCachedTopic is the longest telemetry topic that is kept parsed.
	maxCachedTopic = 1 << 10
	// sweepEvery is how often connections are looked at for time-outs, and so
	// how exact these are.
	sweepEvery = time.Second
	// parkAfter is how long a connection idles before it is parked, and
	// parkAgain before it is parked anew. The latter is longer than the runtime
	// ever waits with a collection.
	parkAfter = 5 * time.Second
	parkAgain = 150 * time.Second
	// willWait bounds the publishing of a will.
	willWait = 10 * time.Second
	// maxRemembered bounds the sessions whose unacknowledged commands are
	// remembered between connections.
	maxRemembered = 64 << 10
)
