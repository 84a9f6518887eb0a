package mqtt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/chunk"
)

// outbound writes to one client. Bytes are written by whoever finds nobody
// writing; who finds somebody leaves its bytes in the queue and goes on. One
// write so takes along what gathered during the one before.
type outbound struct {
	since atomic.Int64 // when the write under way began, 0 for none

	mu      sync.Mutex
	queue   []byte        // waits for who writes; a chunk
	writing bool          // somebody writes, or holds the right to
	closed  bool          // nothing is taken any more
	changed chan struct{} // closed when room or the right may be had; nil when nobody waits
}

// wait returns a channel for the next change. The mutex is held.
func (o *outbound) wait() <-chan struct{} {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// signal wakes who waits. The mutex is held.
func (o *outbound) signal() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// close lets every later write fail.
func (o *outbound) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

// push appends b to the queue when there is room, and reports whether the
// caller now has the right to write, which it must use with drain. It waits for
// room while ctx lasts.
func (o *outbound) push(ctx context.Context, b []byte, limit int) (mine bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && len(o.queue) > 0 && len(o.queue)+len(b) > limit {
		changed := o.wait()
		o.mu.Unlock()
		select {
		case <-changed:
			o.mu.Lock()
		case <-ctx.Done():
			o.mu.Lock()
			return false, ctx.Err()
		}
	}
	if o.closed {
		return false, net.ErrClosed
	}
	if o.queue == nil {
		o.queue = chunk.Get()
	}
	o.queue = append(o.queue, b...)
	if o.writing {
		return false, nil
	}
	o.writing = true
	return true, nil
}

// hold waits for the right to write and keeps it: what others send gathers in
// the queue until release.
func (o *outbound) hold() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing && !o.closed {
		changed := o.wait()
		o.mu.Unlock()
		<-changed
		o.mu.Lock()
	}
	if o.closed {
		return net.ErrClosed
	}
	o.writing = true
	return nil
}

// claim takes the right to write if nobody has it.
func (o *outbound) claim() (mine bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, net.ErrClosed
	}
	if o.writing {
		return false, nil
	}
	o.writing = true
	return true, nil
}

// drain writes first, then the queue until it is empty, and gives the right
// away. The caller has the right.
func (o *outbound) drain(nc net.Conn, clock *clock, first []byte) error {
	var err error
	if len(first) > 0 {
		err = o.put(nc, clock, first)
	}
	for {
		o.mu.Lock()
		b := o.queue
		o.queue = nil
		if len(b) == 0 || err != nil {
			o.writing = false
			if err != nil {
				o.closed = true
			}
			o.signal()
			o.mu.Unlock()
			chunk.Put(b)
			return err
		}
		o.signal() // there is room
		o.mu.Unlock()
		err = o.put(nc, clock, b)
		chunk.Put(b)
	}
}

func (o *outbound) put(nc net.Conn, clock *clock, b []byte) error {
	o.since.Store(clock.now())
	_, err := nc.Write(b)
	o.since.Store(0)
	return err
}

// stalled reports whether a write has been under way since before t.
func (o *outbound) stalled(t int64) bool {
	since := o.since.Load()
	return since != 0 && since < t
}

// clock tells the time since a server began, as a number above 0 that is cheap
// to keep. It is monotonic.
type clock struct{ start time.Time }

func (c *clock) now() int64 { return int64(time.Since(c.start)) + 1 }
