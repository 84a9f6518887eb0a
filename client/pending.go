package client

// pending holds the messages in flight in the order they were sent: MQTT wants
// them resent in that order [MQTT-4.6.0-1].
type pending struct {
	byID        map[uint16]*outgoing // those that have an id
	first, last *outgoing
}

func (p *pending) add(o *outgoing) {
	if o.id != 0 {
		if p.byID == nil {
			p.byID = make(map[uint16]*outgoing)
		}
		p.byID[o.id] = o
	}
	o.queued = true
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
	if o != nil {
		p.remove(o)
	}
	return o
}

// remove removes a message and reports whether it was there.
func (p *pending) remove(o *outgoing) bool {
	if !o.queued {
		return false
	}
	o.queued = false
	if o.id != 0 {
		delete(p.byID, o.id)
	}
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
	return true
}

func (p *pending) clear() []*outgoing {
	var all []*outgoing
	for o := p.first; o != nil; o = p.first {
		p.remove(o)
		all = append(all, o)
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
