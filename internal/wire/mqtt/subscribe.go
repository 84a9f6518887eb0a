package mqtt

// Subscription is one filter of a SUBSCRIBE packet.
type Subscription struct {
	Filter            string
	QoS               byte // largest wanted
	NoLocal           bool // MQTT 5
	RetainAsPublished bool // MQTT 5
	RetainHandling    byte // MQTT 5: 0, 1 or 2
}

// Subscribe asks for subscriptions (MQTT 5 §3.8). It has at least one.
type Subscribe struct {
	ID            uint16
	Subscriptions []Subscription
	Properties    Properties // MQTT 5
}

// Type returns SUBSCRIBE.
func (*Subscribe) Type() Type { return SUBSCRIBE }

// Decode reads a SUBSCRIBE packet. Filters are text and not empty; use
// [ValidFilter] for the rules of wildcards, which are answered per filter.
func (p *Subscribe) Decode(f Frame, v Version) error {
	*p = Subscribe{Subscriptions: p.Subscriptions[:0], Properties: p.Properties[:0]}
	s := scan(f)
	if f.Flags != flagsOf(SUBSCRIBE) {
		s.malformed("reserved flags are wrong") // [MQTT-3.8.1-1]
	}
	p.ID = s.id()
	if v == V5 {
		p.Properties = s.properties(SUBSCRIBE, p.Properties)
	}
	for len(s.b) > 0 {
		filter := s.text("topic filter")
		if s.err == nil && filter == "" {
			s.malformed("topic filter is empty") // [MQTT-4.7.3-1]
		}
		o := s.u8()
		sub := Subscription{Filter: filter, QoS: o & 3}
		reserved := o &^ 3
		if v == V5 {
			sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling = o&4 != 0, o&8 != 0, o>>4&3
			reserved = o & 0xC0
		}
		if reserved != 0 || sub.QoS == 3 || sub.RetainHandling == 3 {
			s.malformed("subscription options are not valid") // [MQTT-3.8.3-5]
		}
		p.Subscriptions = append(p.Subscriptions, sub)
	}
	if s.err == nil && len(p.Subscriptions) == 0 {
		s.fail(ProtocolError, "no topic filter") // [MQTT-3.8.3-2]
	}
	return s.done()
}

// Append appends the packet.
func (p *Subscribe) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, SUBSCRIBE, flagsOf(SUBSCRIBE))
	w.id(p.ID)
	if v == V5 {
		w.properties(SUBSCRIBE, p.Properties)
	}
	if len(p.Subscriptions) == 0 {
		w.refuse("no topic filter")
	}
	for i := range p.Subscriptions {
		sub := &p.Subscriptions[i]
		if sub.Filter == "" {
			w.refuse("topic filter is empty")
		}
		if sub.QoS > 2 || sub.RetainHandling > 2 {
			w.refuse("subscription options are not valid")
		}
		w.text("topic filter", sub.Filter)
		o := sub.QoS
		if v == V5 {
			o |= sub.RetainHandling << 4
			if sub.NoLocal {
				o |= 4
			}
			if sub.RetainAsPublished {
				o |= 8
			}
		}
		w.u8(o)
	}
	return w.end()
}

// Suback answers a SUBSCRIBE, code by code (MQTT 5 §3.9).
type Suback struct {
	ID         uint16
	Codes      []Reason
	Properties Properties // MQTT 5
}

// Type returns SUBACK.
func (*Suback) Type() Type { return SUBACK }

// Decode reads a SUBACK packet.
func (p *Suback) Decode(f Frame, v Version) error {
	*p = Suback{Codes: p.Codes[:0], Properties: p.Properties[:0]}
	s := scan(f)
	p.ID, p.Codes, p.Properties = s.codes(f, v, p.Codes, p.Properties)
	return s.done()
}

// Append appends the packet.
func (p *Suback) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, SUBACK, 0)
	w.codes(v, p.ID, p.Codes, p.Properties)
	return w.end()
}

// Unsubscribe ends subscriptions (MQTT 5 §3.10). It has at least one filter.
type Unsubscribe struct {
	ID         uint16
	Filters    []string
	Properties Properties // MQTT 5
}

// Type returns UNSUBSCRIBE.
func (*Unsubscribe) Type() Type { return UNSUBSCRIBE }

// Decode reads an UNSUBSCRIBE packet.
func (p *Unsubscribe) Decode(f Frame, v Version) error {
	*p = Unsubscribe{Filters: p.Filters[:0], Properties: p.Properties[:0]}
	s := scan(f)
	if f.Flags != flagsOf(UNSUBSCRIBE) {
		s.malformed("reserved flags are wrong") // [MQTT-3.10.1-1]
	}
	p.ID = s.id()
	if v == V5 {
		p.Properties = s.properties(UNSUBSCRIBE, p.Properties)
	}
	for len(s.b) > 0 {
		filter := s.text("topic filter")
		if s.err == nil && filter == "" {
			s.malformed("topic filter is empty")
		}
		p.Filters = append(p.Filters, filter)
	}
	if s.err == nil && len(p.Filters) == 0 {
		s.fail(ProtocolError, "no topic filter") // [MQTT-3.10.3-2]
	}
	return s.done()
}

// Append appends the packet.
func (p *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, UNSUBSCRIBE, flagsOf(UNSUBSCRIBE))
	w.id(p.ID)
	if v == V5 {
		w.properties(UNSUBSCRIBE, p.Properties)
	}
	if len(p.Filters) == 0 {
		w.refuse("no topic filter")
	}
	for _, f := range p.Filters {
		if f == "" {
			w.refuse("topic filter is empty")
		}
		w.text("topic filter", f)
	}
	return w.end()
}

// Unsuback answers an UNSUBSCRIBE (MQTT 5 §3.11). Codes exist in MQTT 5 only.
type Unsuback struct {
	ID         uint16
	Codes      []Reason
	Properties Properties
}

// Type returns UNSUBACK.
func (*Unsuback) Type() Type { return UNSUBACK }

// Decode reads an UNSUBACK packet.
func (p *Unsuback) Decode(f Frame, v Version) error {
	*p = Unsuback{Codes: p.Codes[:0], Properties: p.Properties[:0]}
	s := scan(f)
	if v == V5 {
		p.ID, p.Codes, p.Properties = s.codes(f, v, p.Codes, p.Properties)
		return s.done()
	}
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	p.ID = s.id()
	return s.done()
}

// Append appends the packet.
func (p *Unsuback) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, UNSUBACK, 0)
	if v == V5 {
		w.codes(v, p.ID, p.Codes, p.Properties)
		return w.end()
	}
	w.id(p.ID)
	return w.end()
}

// codes reads what SUBACK and UNSUBACK have in common.
func (s *scanner) codes(f Frame, v Version, codes []Reason, ps Properties) (uint16, []Reason, Properties) {
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	id := s.id()
	if v == V5 {
		ps = s.properties(f.Type, ps)
	}
	for len(s.b) > 0 {
		r := Reason(s.u8())
		if !r.allowed(f.Type, v) {
			s.malformed("unknown reason code")
		}
		codes = append(codes, r)
	}
	if s.err == nil && len(codes) == 0 {
		s.malformed("no reason code")
	}
	return id, codes, ps
}

func (w *builder) codes(v Version, id uint16, codes []Reason, ps Properties) {
	w.id(id)
	if v == V5 {
		w.properties(w.typ, ps)
	}
	if len(codes) == 0 {
		w.refuse("no reason code")
	}
	for _, r := range codes {
		w.reason(r, v)
	}
}
