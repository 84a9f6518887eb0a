package codec

// Condition is the error that a connection, session, link or delivery ends
// with (part 2 §2.8.14, "error").
type Condition struct {
	Name        string // symbol, e.g. "amqp:not-found"
	Description string
	Info        Map
}

// Code returns CodeError.
func (*Condition) Code() Code { return CodeError }

func (c *Condition) fields(f *fields) {
	f.mustSymbol("condition", &c.Name)
	f.text("description", &c.Description)
	f.mapping("info", &c.Info, symbolKeys)
}

// Error returns the name and the description.
func (c *Condition) Error() string {
	if c.Description == "" {
		return c.Name
	}
	return c.Name + ": " + c.Description
}

// State is the state of a delivery (part 3 §3.4); the zero State is absent.
type State struct {
	// Kind says which: CodeReceived, CodeAccepted, CodeRejected, CodeReleased,
	// CodeModified, that of an extension, or 0.
	Kind Code

	SectionNumber uint32 // of received
	SectionOffset uint64

	Error *Condition // of rejected; may be nil

	DeliveryFailed    bool // of modified
	UndeliverableHere bool
	Annotations       Map

	// Extension is the whole described value of a state that the core of the
	// standard does not know, such as a transactional one.
	Extension Value
}

// Accepted is the outcome of a delivery that arrived.
func Accepted() State { return State{Kind: CodeAccepted} }

// Rejected is the outcome of a delivery that is invalid.
func Rejected(c *Condition) State { return State{Kind: CodeRejected, Error: c} }

// Released is the outcome of a delivery that was not looked at.
func Released() State { return State{Kind: CodeReleased} }

// Terminal reports whether s is an outcome: nothing comes after it.
func (s *State) Terminal() bool { return s.Kind >= CodeAccepted && s.Kind <= CodeModified }

// The tables of the states.
type (
	received State
	accepted State
	rejected State
	released State
	modified State
)

func (*received) Code() Code { return CodeReceived }
func (*accepted) Code() Code { return CodeAccepted }
func (*rejected) Code() Code { return CodeRejected }
func (*released) Code() Code { return CodeReleased }
func (*modified) Code() Code { return CodeModified }

func (s *received) fields(f *fields) {
	f.mustU32("section-number", &s.SectionNumber)
	f.mustU64("section-offset", &s.SectionOffset)
}

func (*accepted) fields(*fields) {}

func (s *rejected) fields(f *fields) { sub(f, "error", &s.Error) }

func (*released) fields(*fields) {}

func (s *modified) fields(f *fields) {
	f.bool("delivery-failed", &s.DeliveryFailed, false)
	f.bool("undeliverable-here", &s.UndeliverableHere, false)
	f.mapping("message-annotations", &s.Annotations, symbolKeys)
}

// table returns the table of a state of the core, or nil.
func (s *State) table() composite {
	switch s.Kind {
	case CodeReceived:
		return (*received)(s)
	case CodeAccepted:
		return (*accepted)(s)
	case CodeRejected:
		return (*rejected)(s)
	case CodeReleased:
		return (*released)(s)
	case CodeModified:
		return (*modified)(s)
	}
	return nil
}

// Append appends the described form of s; null when s is absent.
func (s *State) Append(dst []byte) []byte {
	if t := s.table(); t != nil {
		return appendComposite(dst, t)
	}
	return s.Extension.Append(dst)
}

// Decode overwrites s with v, e.g. a value in the unsettled map of an attach.
func (s *State) Decode(v Value) error {
	*s = State{}
	switch v.kind {
	case KindNull:
		return nil
	case KindDescribed:
	default:
		return malformedf("state of a delivery is a %v", v.kind)
	}
	d, list := peel(v.s)
	switch d.kind {
	case KindUlong:
		s.Kind = Code(d.num)
	case KindSymbol:
		s.Kind, _ = codeNamed(d.s)
	}
	if t := s.table(); t != nil {
		_, err := readComposite(list, t, MaxDepth)
		return err
	}
	s.Extension = v
	return nil
}

func (f *fields) state(name string, s *State) {
	if f.write {
		f.walked++
		f.out = s.Append(f.out)
		if s.table() != nil || !s.Extension.IsNull() {
			f.end, f.count = len(f.out), f.walked
		}
		return
	}
	v := f.any()
	if err := s.Decode(v); err != nil && f.err == nil {
		f.err = err
	}
}
