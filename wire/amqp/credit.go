package amqp

import "github.com/causeway-iot/causeway/wire/amqp/codec"

// list has the link looked at when the burst ends; the mutex is held.
func (r *Receiver) list() {
	if !r.listed && (r.window > 0 || r.draining != nil) {
		r.listed = true
		r.s.grants = append(r.s.grants, r)
		r.s.dirtyLocked()
	}
}

// review looks whether a drain has ended, or credit is due, and reports whether
// it gave some; the mutex is held.
func (r *Receiver) review() bool {
	if r.draining != nil {
		if r.credit > 0 {
			return false
		}
		r.drained()
	}
	return r.topUp()
}

// drained ends a drain; the mutex is held.
func (r *Receiver) drained() {
	if r.draining != nil {
		close(r.draining)
		r.draining = nil
	}
}

// begin gives the first credit of a link; the mutex is held.
func (r *Receiver) begin() {
	if !r.topUp() && r.credit > 0 {
		r.give(r.credit) // of Grant, before the peer was answered
	}
}

// topUp gives the credit that is due, once it is much, and reports whether it
// did; the mutex is held.
func (r *Receiver) topUp() bool {
	if r.window == 0 || r.over() || !r.attached || r.draining != nil {
		return false
	}
	used := r.unsettled + r.held
	if r.part != nil {
		used++
	}
	most := r.window - min(r.window, used)
	if most <= r.credit || r.credit > r.window/2 {
		return false
	}
	r.give(most)
	return true
}

// give sets the credit, and tells the peer; the mutex is held.
func (r *Receiver) give(n uint32) {
	r.credit = n
	if to := r.count + n; int32(to-r.limit) > 0 {
		r.limit = to // less than before does not bring back what is under way
	}
	r.pushState()
}

// pushState queues a flow with the state of the link; the mutex is held.
func (r *Receiver) pushState() {
	r.s.pushFlow(func(f *codec.Flow) {
		f.Handle, f.DeliveryCount, f.LinkCredit = codec.Some(r.local), codec.Some(r.count), codec.Some(r.credit)
		f.Drain = r.draining != nil
	})
}

// onFlow takes what a sender says about its link; the mutex is held.
func (r *Receiver) onFlow(p *codec.Flow) {
	if p.DeliveryCount.OK && int32(p.DeliveryCount.V-r.count) > 0 {
		// The sender has used credit up without messages.
		r.credit -= min(r.credit, p.DeliveryCount.V-r.count)
		if r.count = p.DeliveryCount.V; int32(r.count-r.limit) > 0 {
			r.limit = r.count
		}
		r.list()
	}
	if p.Echo {
		r.pushState()
	}
}

// mostCredit is the largest credit there can be: with more, counts that serial
// numbers have could not be told apart.
const mostCredit = 1<<31 - 1

// Grant sets how many messages the peer may send from now on, for a link
// without automatic credit. It ends a drain. It is said with the next Push, or
// once the peer was answered.
func (r *Receiver) Grant(n uint32) {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.over() {
		return
	}
	r.drained()
	if n = min(n, mostCredit); !r.attached {
		r.credit = n
		return
	}
	r.give(n)
}

// Drain asks the peer to send what it has, up to the credit it was given, and
// to use up the rest. The channel is closed when that is done, or the link is
// detached. A link with automatic credit gets new credit then.
func (r *Receiver) Drain() <-chan struct{} {
	c := r.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.draining != nil {
		return r.draining
	}
	ch := make(chan struct{})
	if r.over() || !r.attached || r.credit == 0 {
		close(ch)
		return ch
	}
	r.draining = ch
	r.pushState()
	c.kick()
	return ch
}
