// Package memnet is a network in memory for tests: connections with buffers
// and deadlines that behave as those of TCP do, and listeners that hand them
// out. Everything waits on channels and timers only, so a testing/synctest
// bubble sees a blocked connection as idle and moves its clock on.
//
// It knows nothing of what is carried. It is not fast and not meant to be.
package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultBuffer is the number of bytes that may be under way in each
// direction of a connection before a writer waits.
const DefaultBuffer = 64 << 10

// Backlog is the number of connections that may wait for Accept.
const Backlog = 128

// ErrRefused is the error of dialing a closed listener.
var ErrRefused = errors.New("memnet: connection refused")

// Addr is the address of an end.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// Listener hands out the server ends of connections made with Dial.
type Listener struct {
	// Buffer replaces DefaultBuffer for connections dialed from now on.
	Buffer int

	addr   Addr
	queue  chan *Conn
	closed chan struct{}
	once   sync.Once
	dialed atomic.Int64
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a listener with the given name as its address.
func Listen(name string) *Listener {
	return &Listener{
		Buffer: DefaultBuffer,
		addr:   Addr(name),
		queue:  make(chan *Conn, Backlog),
		closed: make(chan struct{}),
	}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept, and closes connections nobody accepted.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr returns the name the listener was given.
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects to l. It waits for room in the backlog.
func (l *Listener) Dial(ctx context.Context) (*Conn, error) {
	select {
	case <-l.closed:
		return nil, ErrRefused
	default:
	}
	name := Addr("client-" + strconv.FormatInt(l.dialed.Add(1), 10))
	client, server := Pipe(name, l.addr, l.Buffer)
	select {
	case l.queue <- server:
	case <-l.closed:
		return nil, ErrRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-l.closed: // nobody may ever look into the queue again
		_ = server.Close()
	default:
	}
	return client, nil
}

// Conn is one end of a connection.
type Conn struct {
	local, remote Addr
	in, out       *stream
	read, write   deadline
	closed        chan struct{}
	once          sync.Once
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a connection. Each direction takes buffer bytes
// before a writer waits.
func Pipe(client, server Addr, buffer int) (a, b *Conn) {
	if buffer <= 0 {
		buffer = DefaultBuffer
	}
	up, down := newStream(buffer), newStream(buffer)
	a = &Conn{local: client, remote: server, in: down, out: up, closed: make(chan struct{})}
	b = &Conn{local: server, remote: client, in: up, out: down, closed: make(chan struct{})}
	return a, b
}

// Read reads what has arrived, waiting for the first byte.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p, c.closed, &c.read)
	return n, c.wrap("read", err)
}

// ReadNow reads what has arrived without waiting; 0 without an error means
// nothing has.
func (c *Conn) ReadNow(p []byte) (int, error) {
	n, err := c.in.read(p, nil, &c.read)
	return n, c.wrap("read", err)
}

// Wait waits until something has arrived, or the other end closed, and reads
// nothing.
func (c *Conn) Wait() error {
	return c.wrap("read", c.in.await(c.closed, &c.read))
}

// Write writes p, waiting while the other end does not read.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p, c.closed, &c.write)
	return n, c.wrap("write", err)
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends both directions. The other end reads what is under way, then
// io.EOF; its writes fail.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.out.end()
		c.in.abandon()
	})
	return nil
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline bounds reads, those under way included.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline bounds writes, those under way included.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return nil
}

// stream is one direction.
type stream struct {
	mu        sync.Mutex
	buf       []byte
	max       int
	ended     bool // the writer closed
	abandoned bool // the reader closed
	changed   chan struct{}
}

func newStream(max int) *stream { return &stream{max: max, changed: make(chan struct{})} }

// signal wakes everybody who waits. The mutex is held.
func (s *stream) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.signal()
}

func (s *stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandoned, s.buf = true, nil
	s.signal()
}

// await waits until read would not wait.
func (s *stream) await(closed chan struct{}, d *deadline) error {
	for {
		s.mu.Lock()
		switch {
		case s.abandoned:
			s.mu.Unlock()
			return net.ErrClosed
		case d.passed():
			s.mu.Unlock()
			return os.ErrDeadlineExceeded
		case len(s.buf) > 0, s.ended:
			s.mu.Unlock()
			return nil
		}
		changed := s.changed
		s.mu.Unlock()
		if err := wait(changed, closed, d); err != nil {
			return err
		}
	}
}

// read reads what is there. It waits for something unless closed is nil.
func (s *stream) read(p []byte, closed chan struct{}, d *deadline) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.abandoned:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case d.passed():
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0 || len(p) == 0:
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			if len(s.buf) == 0 {
				s.buf = nil
			}
			s.signal()
			s.mu.Unlock()
			return n, nil
		case s.ended:
			s.mu.Unlock()
			return 0, io.EOF
		case closed == nil:
			s.mu.Unlock()
			return 0, nil
		}
		changed := s.changed
		s.mu.Unlock()
		if err := wait(changed, closed, d); err != nil {
			return 0, err
		}
	}
}

func (s *stream) write(p []byte, closed chan struct{}, d *deadline) (int, error) {
	written := 0
	for {
		s.mu.Lock()
		switch {
		case s.ended:
			s.mu.Unlock()
			return written, net.ErrClosed
		case s.abandoned:
			s.mu.Unlock()
			return written, io.ErrClosedPipe
		case d.passed():
			s.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		}
		if n := min(len(p)-written, s.max-len(s.buf)); n > 0 {
			s.buf = append(s.buf, p[written:written+n]...)
			written += n
			s.signal()
		}
		changed := s.changed
		s.mu.Unlock()
		if written == len(p) {
			return written, nil
		}
		if err := wait(changed, closed, d); err != nil {
			return written, err
		}
	}
}

func wait(changed, closed <-chan struct{}, d *deadline) error {
	expired, moved := d.wait()
	select {
	case <-changed:
	case <-moved:
	case <-closed:
		return net.ErrClosed
	case <-expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// deadline is a point in time that can be moved while somebody waits for it.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	timer   *time.Timer
	expired chan struct{}
	moved   chan struct{}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.moved != nil {
		close(d.moved)
	}
	d.at, d.timer, d.moved = t, nil, make(chan struct{})
	d.expired = make(chan struct{})
	if t.IsZero() {
		return
	}
	expired := d.expired
	if left := time.Until(t); left <= 0 {
		close(expired)
	} else {
		d.timer = time.AfterFunc(left, func() { close(expired) })
	}
}

func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && time.Until(d.at) <= 0
}

func (d *deadline) wait() (expired, moved <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		d.expired, d.moved = make(chan struct{}), make(chan struct{})
	}
	return d.expired, d.moved
}
