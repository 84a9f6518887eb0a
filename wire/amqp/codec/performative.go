package codec

import "math"

// Performative is the body of a frame. The implementations are pointers to the
// types of this package that AMQP and SASL frames carry.
//
// Decoding overwrites all fields and sets those that are absent to their
// default. Writing leaves out what has its default; note that the default of
// some is not zero.
type Performative interface{ composite }

// The performatives.
var (
	_ Performative = (*Open)(nil)
	_ Performative = (*Begin)(nil)
	_ Performative = (*Attach)(nil)
	_ Performative = (*Flow)(nil)
	_ Performative = (*Transfer)(nil)
	_ Performative = (*Disposition)(nil)
	_ Performative = (*Detach)(nil)
	_ Performative = (*End)(nil)
	_ Performative = (*Close)(nil)
	_ Performative = (*SASLMechanisms)(nil)
	_ Performative = (*SASLInit)(nil)
	_ Performative = (*SASLChallenge)(nil)
	_ Performative = (*SASLResponse)(nil)
	_ Performative = (*SASLOutcome)(nil)
)

// Role is the role of the one who says it.
type Role bool

// The roles.
const (
	Sender   Role = false
	Receiver Role = true
)

// String returns "sender" or "receiver".
func (r Role) String() string {
	if r == Receiver {
		return "receiver"
	}
	return "sender"
}

// Defaults of open and begin (part 2 §2.7.1, §2.7.2).
const (
	DefaultMaxFrameSize = math.MaxUint32
	DefaultChannelMax   = math.MaxUint16
	DefaultHandleMax    = math.MaxUint32
)

// MaxDeliveryTag is the number of bytes a delivery tag may have (§2.8.7).
const MaxDeliveryTag = 32

// Open negotiates a connection (part 2 §2.7.1).
type Open struct {
	ContainerID         string
	Hostname            string
	MaxFrameSize        uint32 // bytes; default DefaultMaxFrameSize
	ChannelMax          uint16 // default DefaultChannelMax
	IdleTimeout         uint32 // milliseconds; 0 is none
	OutgoingLocales     Symbols
	IncomingLocales     Symbols
	OfferedCapabilities Symbols
	DesiredCapabilities Symbols
	Properties          Map
}

// Code returns CodeOpen.
func (*Open) Code() Code { return CodeOpen }

func (p *Open) fields(f *fields) {
	f.mustText("container-id", &p.ContainerID)
	f.text("hostname", &p.Hostname)
	f.u32("max-frame-size", &p.MaxFrameSize, DefaultMaxFrameSize)
	f.u16("channel-max", &p.ChannelMax, DefaultChannelMax)
	f.u32("idle-time-out", &p.IdleTimeout, 0)
	f.symbols("outgoing-locales", &p.OutgoingLocales)
	f.symbols("incoming-locales", &p.IncomingLocales)
	f.symbols("offered-capabilities", &p.OfferedCapabilities)
	f.symbols("desired-capabilities", &p.DesiredCapabilities)
	f.mapping("properties", &p.Properties, symbolKeys)
}

// Begin begins a session on a channel (part 2 §2.7.2).
type Begin struct {
	RemoteChannel       Optional[uint16] // of the begin that this one answers
	NextOutgoingID      uint32
	IncomingWindow      uint32
	OutgoingWindow      uint32
	HandleMax           uint32 // default DefaultHandleMax
	OfferedCapabilities Symbols
	DesiredCapabilities Symbols
	Properties          Map
}

// Code returns CodeBegin.
func (*Begin) Code() Code { return CodeBegin }

func (p *Begin) fields(f *fields) {
	f.optU16("remote-channel", &p.RemoteChannel)
	f.mustU32("next-outgoing-id", &p.NextOutgoingID)
	f.mustU32("incoming-window", &p.IncomingWindow)
	f.mustU32("outgoing-window", &p.OutgoingWindow)
	f.u32("handle-max", &p.HandleMax, DefaultHandleMax)
	f.symbols("offered-capabilities", &p.OfferedCapabilities)
	f.symbols("desired-capabilities", &p.DesiredCapabilities)
	f.mapping("properties", &p.Properties, symbolKeys)
}

// Flow updates the state of a session, and of a link when it has a handle
// (part 2 §2.7.4).
type Flow struct {
	NextIncomingID Optional[uint32] // absent until the peer's begin was seen
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Optional[uint32]
	DeliveryCount  Optional[uint32]
	LinkCredit     Optional[uint32]
	Available      Optional[uint32]
	Drain          bool
	Echo           bool
	Properties     Map
}

// Code returns CodeFlow.
func (*Flow) Code() Code { return CodeFlow }

func (p *Flow) fields(f *fields) {
	f.optU32("next-incoming-id", &p.NextIncomingID)
	f.mustU32("incoming-window", &p.IncomingWindow)
	f.mustU32("next-outgoing-id", &p.NextOutgoingID)
	f.mustU32("outgoing-window", &p.OutgoingWindow)
	f.optU32("handle", &p.Handle)
	f.optU32("delivery-count", &p.DeliveryCount)
	f.optU32("link-credit", &p.LinkCredit)
	f.optU32("available", &p.Available)
	f.bool("drain", &p.Drain, false)
	f.bool("echo", &p.Echo, false)
	f.mapping("properties", &p.Properties, symbolKeys)
}

// Transfer carries a message, or a part of one in the payload after it (part 2
// §2.7.5).
type Transfer struct {
	Handle        uint32
	DeliveryID    Optional[uint32] // must be there on the first transfer of a delivery
	DeliveryTag   []byte           // the same; at most MaxDeliveryTag bytes
	MessageFormat Optional[uint32] // the same
	Settled       Optional[bool]
	More          bool
	RcvSettleMode Optional[uint8]
	State         State
	Resume        bool
	Aborted       bool
	Batchable     bool
}

// Code returns CodeTransfer.
func (*Transfer) Code() Code { return CodeTransfer }

func (p *Transfer) fields(f *fields) {
	f.mustU32("handle", &p.Handle)
	f.optU32("delivery-id", &p.DeliveryID)
	f.binary("delivery-tag", &p.DeliveryTag, MaxDeliveryTag)
	f.optU32("message-format", &p.MessageFormat)
	f.optBool("settled", &p.Settled)
	f.bool("more", &p.More, false)
	f.optU8("rcv-settle-mode", &p.RcvSettleMode)
	f.state("state", &p.State)
	f.bool("resume", &p.Resume, false)
	f.bool("aborted", &p.Aborted, false)
	f.bool("batchable", &p.Batchable, false)
}

func (f *fields) optBool(name string, p *Optional[bool]) {
	if f.write {
		f.putIf(p.OK, Bool(p.V))
		return
	}
	v, ok := f.get(name, KindBool)
	*p = Optional[bool]{v.num != 0, ok}
}

// Disposition tells the state of deliveries from First to Last (part 2 §2.7.6).
type Disposition struct {
	Role      Role
	First     uint32
	Last      Optional[uint32] // absent: the same as First
	Settled   bool
	State     State
	Batchable bool
}

// Code returns CodeDisposition.
func (*Disposition) Code() Code { return CodeDisposition }

func (p *Disposition) fields(f *fields) {
	f.role("role", &p.Role)
	f.mustU32("first", &p.First)
	f.optU32("last", &p.Last)
	f.bool("settled", &p.Settled, false)
	f.state("state", &p.State)
	f.bool("batchable", &p.Batchable, false)
}

// Detach detaches a link, and closes it for good if Closed (part 2 §2.7.7).
type Detach struct {
	Handle uint32
	Closed bool
	Error  *Condition
}

// Code returns CodeDetach.
func (*Detach) Code() Code { return CodeDetach }

func (p *Detach) fields(f *fields) {
	f.mustU32("handle", &p.Handle)
	f.bool("closed", &p.Closed, false)
	sub(f, "error", &p.Error)
}

// End ends a session (part 2 §2.7.8).
type End struct{ Error *Condition }

// Code returns CodeEnd.
func (*End) Code() Code { return CodeEnd }

func (p *End) fields(f *fields) { sub(f, "error", &p.Error) }

// Close closes a connection (part 2 §2.7.9).
type Close struct{ Error *Condition }

// Code returns CodeClose.
func (*Close) Code() Code { return CodeClose }

func (p *Close) fields(f *fields) { sub(f, "error", &p.Error) }
