package client

// outgoing is a QoS 1 message that waits for its acknowledgement. It keeps the
// encoded packet, which is sent again when the connection is lost.
type outgoing struct {
	id         uint16
	packet     []byte
	done       func(error)
	prev, next *outgoing
}

// pending holds the messages in flight in the order they were sent: MQTT wants
// them resent in that order [MQTT-4.6.0-1].
type pending struct {
	byID        map[uint16]*outgoing
	first, last *outgoing
}

func (p *pending) add(o *outgoing) {
	if p.byID == nil {
		p.byID = make(map[uint16]*outgoing)
	}
	p.byID[o.id] = o
	o.prev = p.last
	if p.last == nil {
		p.first = o
	} else {
		p.last.next = o
	}
	p.last = o
}

// take removes and returns the message with a packet id, nil when there is none.
func (p *pending) take(id uint16) *outgoing {
	o := p.byID[id]
	if o == nil {
		return nil
	}
	delete(p.byID, id)
	if o.prev == nil {
		p.first = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		p.last = o.prev
	} else {
		o.next.prev = o.prev
	}
	o.prev, o.next = nil, nil
	return o
}

func (p *pending) clear() []*outgoing {
	var all []*outgoing
	for o := p.first; o != nil; o = p.first {
		all = append(all, p.take(o.id))
	}
	return all
}

// packetIDs hands out packet ids, which are 16 bits and never 0.
type packetIDs struct{ last uint16 }

// next returns the next id that used does not have. There is one: fewer than
// MaxInFlight are in use.
func (p *packetIDs) next(used func(uint16) bool) uint16 {
	for {
		p.last++
		if p.last != 0 && !used(p.last) {
			return p.last
		}
	}
}
