package codec

// SenderSettleMode says whether a sender settles what it sends (part 2 §2.8.2).
type SenderSettleMode uint8

// The modes of senders. Mixed is the default.
const (
	SendUnsettled SenderSettleMode = 0
	SendSettled   SenderSettleMode = 1
	SendMixed     SenderSettleMode = 2
)

// ReceiverSettleMode says when a receiver settles (part 2 §2.8.3).
type ReceiverSettleMode uint8

// The modes of receivers: at once, or after the sender has.
const (
	SettleFirst  ReceiverSettleMode = 0
	SettleSecond ReceiverSettleMode = 1
)

// Durability says what of a terminus survives (part 3 §3.5.5).
type Durability uint8

// The durabilities.
const (
	DurableNone          Durability = 0
	DurableConfiguration Durability = 1
	DurableUnsettled     Durability = 2
)

// DefaultExpiry is the default expiry policy of a terminus (part 3 §3.5.6).
const DefaultExpiry = "session-end"

// Attach attaches a link to a session (part 2 §2.7.3). At most one of Target
// and Coordinator is there.
type Attach struct {
	Name                 string
	Handle               uint32
	Role                 Role
	SndSettleMode        SenderSettleMode // default SendMixed
	RcvSettleMode        ReceiverSettleMode
	Source               *Source
	Target               *Target
	Coordinator          *Coordinator
	Unsettled            Map // delivery tags to states; see State.Decode
	IncompleteUnsettled  bool
	InitialDeliveryCount Optional[uint32] // must be there if Role is Sender
	MaxMessageSize       uint64           // bytes; 0 is no limit
	OfferedCapabilities  Symbols
	DesiredCapabilities  Symbols
	Properties           Map
}

// Code returns CodeAttach.
func (*Attach) Code() Code { return CodeAttach }

func (p *Attach) fields(f *fields) {
	f.mustText("name", &p.Name)
	f.mustU32("handle", &p.Handle)
	f.role("role", &p.Role)
	choice(f, "snd-settle-mode", &p.SndSettleMode, SendMixed, SendMixed)
	choice(f, "rcv-settle-mode", &p.RcvSettleMode, SettleFirst, SettleSecond)
	sub(f, "source", &p.Source)
	p.target(f)
	f.mapping("unsettled", &p.Unsettled, binaryKeys)
	f.bool("incomplete-unsettled", &p.IncompleteUnsettled, false)
	f.optU32("initial-delivery-count", &p.InitialDeliveryCount)
	f.u64("max-message-size", &p.MaxMessageSize)
	f.symbols("offered-capabilities", &p.OfferedCapabilities)
	f.symbols("desired-capabilities", &p.DesiredCapabilities)
	f.mapping("properties", &p.Properties, symbolKeys)
}

// target is the one field that may be of two types.
func (p *Attach) target(f *fields) {
	if f.write {
		if p.Coordinator != nil {
			sub(f, "target", &p.Coordinator)
		} else {
			sub(f, "target", &p.Target)
		}
		return
	}
	p.Target, p.Coordinator = nil, nil
	v, ok := f.get("target", KindDescribed)
	if !ok {
		return
	}
	f.into("target", v, func(code Code) composite {
		switch code {
		case CodeTarget:
			p.Target = new(Target)
			return p.Target
		case CodeCoordinator:
			p.Coordinator = new(Coordinator)
			return p.Coordinator
		}
		return nil
	})
}

// Source is where messages come from (part 3 §3.5.3).
type Source struct {
	Address               Optional[string]
	Durable               Durability
	ExpiryPolicy          string // default DefaultExpiry, which "" means too
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	DistributionMode      string
	Filter                Map
	DefaultOutcome        State
	Outcomes              Symbols
	Capabilities          Symbols
}

// Code returns CodeSource.
func (*Source) Code() Code { return CodeSource }

func (p *Source) fields(f *fields) {
	f.address("address", &p.Address)
	f.durable(&p.Durable)
	f.symbol("expiry-policy", &p.ExpiryPolicy, DefaultExpiry)
	f.u32("timeout", &p.Timeout, 0)
	f.bool("dynamic", &p.Dynamic, false)
	f.mapping("dynamic-node-properties", &p.DynamicNodeProperties, symbolKeys)
	f.symbol("distribution-mode", &p.DistributionMode, "")
	f.mapping("filter", &p.Filter, symbolKeys)
	f.state("default-outcome", &p.DefaultOutcome)
	f.symbols("outcomes", &p.Outcomes)
	f.symbols("capabilities", &p.Capabilities)
}

// Target is where messages go to (part 3 §3.5.4).
type Target struct {
	Address               Optional[string]
	Durable               Durability
	ExpiryPolicy          string // default DefaultExpiry, which "" means too
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map
	Capabilities          Symbols
}

// Code returns CodeTarget.
func (*Target) Code() Code { return CodeTarget }

func (p *Target) fields(f *fields) {
	f.address("address", &p.Address)
	f.durable(&p.Durable)
	f.symbol("expiry-policy", &p.ExpiryPolicy, DefaultExpiry)
	f.u32("timeout", &p.Timeout, 0)
	f.bool("dynamic", &p.Dynamic, false)
	f.mapping("dynamic-node-properties", &p.DynamicNodeProperties, symbolKeys)
	f.symbols("capabilities", &p.Capabilities)
}

// durable is a uint on the wire.
func (f *fields) durable(p *Durability) {
	x := uint32(*p)
	f.u32("durable", &x, 0)
	if x > uint32(DurableUnsettled) && f.err == nil {
		f.err = invalidf("%v: durable is %d, more than %d", f.code, x, DurableUnsettled)
	}
	*p = Durability(x)
}

// Coordinator is the target of a link to a transaction coordinator (part 4
// §4.5.1). It is known so that it can be refused properly.
type Coordinator struct{ Capabilities Symbols }

// Code returns CodeCoordinator.
func (*Coordinator) Code() Code { return CodeCoordinator }

func (p *Coordinator) fields(f *fields) { f.symbols("capabilities", &p.Capabilities) }
