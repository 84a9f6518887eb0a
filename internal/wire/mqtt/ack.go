package mqtt

// Ack is one of the four packets that acknowledge a PUBLISH or each other:
// PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5 §3.4 to §3.7).
type Ack struct {
	Kind       Type
	ID         uint16
	Reason     Reason     // MQTT 5
	Properties Properties // MQTT 5
}

// flagsOf returns the fixed flags a packet of type t must have.
func flagsOf(t Type) byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	}
	return 0
}

// Type returns p.Kind.
func (p *Ack) Type() Type { return p.Kind }

// Decode reads one of the four packets and sets Kind.
func (p *Ack) Decode(f Frame, v Version) error {
	*p = Ack{Kind: f.Type, Properties: p.Properties[:0]}
	s := scan(f)
	if f.Flags != flagsOf(f.Type) {
		s.malformed("reserved flags are wrong")
	}
	p.ID = s.id()
	if v == V5 && len(s.b) > 0 {
		p.Reason = Reason(s.u8())
		if !p.Reason.allowed(f.Type, v) {
			s.malformed("unknown reason code")
		}
		if len(s.b) > 0 {
			p.Properties = s.properties(f.Type, p.Properties)
		}
	}
	return s.done()
}

// Append appends the packet.
func (p *Ack) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, p.Kind, flagsOf(p.Kind))
	if p.Kind < PUBACK || p.Kind > PUBCOMP {
		w.refuse("not a packet that acknowledges")
	}
	w.id(p.ID)
	if v == V5 && (p.Reason != 0 || len(p.Properties) > 0) {
		w.reason(p.Reason, v)
		if len(p.Properties) > 0 {
			w.properties(p.Kind, p.Properties)
		}
	}
	return w.end()
}

// AppendPuback appends a PUBACK of success. It cannot fail; id is not zero.
func AppendPuback(dst []byte, id uint16) []byte {
	return append(dst, byte(PUBACK)<<4, 2, byte(id>>8), byte(id))
}

// Ping is PINGREQ or PINGRESP (MQTT 5 §3.12).
type Ping struct {
	Response bool // PINGRESP
}

// Type returns PINGREQ or PINGRESP.
func (p *Ping) Type() Type {
	if p.Response {
		return PINGRESP
	}
	return PINGREQ
}

// Decode reads either packet.
func (p *Ping) Decode(f Frame, _ Version) error {
	*p = Ping{Response: f.Type == PINGRESP}
	s := scan(f)
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	return s.done()
}

// Append appends the packet. It cannot fail.
func (p *Ping) Append(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(p.Type())<<4, 0), nil
}

// Disconnect ends a connection in order (MQTT 5 §3.14).
type Disconnect struct {
	Reason     Reason     // MQTT 5
	Properties Properties // MQTT 5
}

// Type returns DISCONNECT.
func (*Disconnect) Type() Type { return DISCONNECT }

// Decode reads a DISCONNECT packet.
func (p *Disconnect) Decode(f Frame, v Version) error {
	*p = Disconnect{Properties: p.Properties[:0]}
	s := scan(f)
	p.Reason, p.Properties = s.ending(f, v, p.Properties)
	return s.done()
}

// Append appends the packet.
func (p *Disconnect) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, DISCONNECT, 0)
	w.ending(v, p.Reason, p.Properties)
	return w.end()
}

// Auth continues an extended authentication (MQTT 5 §3.15).
type Auth struct {
	Reason     Reason
	Properties Properties
}

// Type returns AUTH.
func (*Auth) Type() Type { return AUTH }

// Decode reads an AUTH packet.
func (p *Auth) Decode(f Frame, v Version) error {
	*p = Auth{Properties: p.Properties[:0]}
	s := scan(f)
	if v != V5 {
		s.malformed("reserved packet type")
	}
	p.Reason, p.Properties = s.ending(f, v, p.Properties)
	return s.done()
}

// Append appends the packet.
func (p *Auth) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, AUTH, 0)
	if v != V5 {
		w.refuse("exists in MQTT 5 only")
	}
	w.ending(v, p.Reason, p.Properties)
	return w.end()
}

// ending reads the reason and properties of DISCONNECT and AUTH. Both may be
// left out, but only DISCONNECT may leave out the properties alone.
func (s *scanner) ending(f Frame, v Version, ps Properties) (Reason, Properties) {
	if f.Flags != 0 {
		s.malformed("reserved flags are set")
	}
	if v != V5 || len(s.b) == 0 {
		return Success, ps
	}
	r := Reason(s.u8())
	if !r.allowed(f.Type, v) {
		s.malformed("unknown reason code")
	}
	if len(s.b) > 0 || f.Type == AUTH {
		ps = s.properties(f.Type, ps)
	}
	return r, ps
}

func (w *builder) ending(v Version, r Reason, ps Properties) {
	if v != V5 || r == Success && len(ps) == 0 {
		return
	}
	w.reason(r, v)
	if len(ps) > 0 || w.typ == AUTH {
		w.properties(w.typ, ps)
	}
}
