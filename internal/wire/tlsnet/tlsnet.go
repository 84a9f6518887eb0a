// Package tlsnet makes TLS connections that cost little while they idle and
// that can tell what has already arrived.
//
// The standard library's connection reads from the network in small pieces and
// cannot be asked whether a read would wait. A [Conn] puts a layer beneath it:
// [Conn.Read] waits as usual, with no buffer but the small one the standard
// library keeps, [Conn.Wait] waits with nothing at all, and [Conn.ReadNow]
// takes what has arrived, in large pieces through a shared buffer that it holds
// only meanwhile. A server can so take
// a client's packets together, however many TLS records they came in, and
// answer them with one write.
//
// The package knows sockets and TLS records, and nothing of what they carry.
package tlsnet

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"
)

// Piece is how much ReadNow takes from the network at once: a full TLS record
// and some more.
const Piece = 24 << 10

// Listener accepts *Conn.
type Listener struct {
	net.Listener
	config *tls.Config
}

// NewListener returns a listener whose connections are the server side of TLS
// on those of l. Handshakes are the acceptor's to start, or happen with the
// first Read or Write.
func NewListener(l net.Listener, config *tls.Config) *Listener {
	return &Listener{Listener: l, config: config}
}

// Accept waits for the next connection. It does not wait for its handshake.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Server(c, l.config), nil
}

// Conn is the server side of a TLS connection. Like that of the standard
// library it takes one reader and any number of writers at a time.
type Conn struct {
	*tls.Conn
	raw raw
}

// Server returns the server side of TLS on c.
func Server(c net.Conn, config *tls.Config) *Conn {
	t := &Conn{raw: raw{Conn: c}}
	t.Conn = tls.Server(&t.raw, config)
	return t
}

// NetConn returns the connection under TLS.
func (c *Conn) NetConn() net.Conn { return c.raw.Conn }

// CloseNow closes the connection without the good-bye of TLS, which may have
// to wait for a peer that does not read.
func (c *Conn) CloseNow() error { return c.raw.Conn.Close() }

// ReadNow reads what has arrived without waiting; 0 without an error means
// nothing has. Of a record that has arrived in part nothing is returned. It is
// for the goroutine that calls Read, after the handshake. On systems where it
// cannot ask for more it returns what Read left over.
func (c *Conn) ReadNow(p []byte) (int, error) {
	c.raw.now = true
	n, err := c.Conn.Read(p)
	c.raw.now = false
	if err == errNothing { //nolint:errorlint // crypto/tls returns it as it is
		err = nil
	}
	return n, err
}

// Wait waits until something has arrived, or the connection ended, and reads
// nothing: neither data nor errors are lost by it. It needs so little stack
// that a goroutine which does nothing else costs the least there is. It is for
// the time after a Read that ran into its deadline, with the deadline lifted,
// and for no two goroutines at a time. Where it cannot tell it returns at once.
func (c *Conn) Wait() error {
	s, ok := c.raw.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	conn, err := s.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(readable)
}

// nothing is the error that tells crypto/tls to come back later. It counts as
// temporary, so that the connection stays usable.
type nothing struct{}

func (nothing) Error() string   { return "tlsnet: nothing has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing net.Error = nothing{}

// pieces holds the buffers of ReadNow.
var pieces = sync.Pool{New: func() any { return new([Piece]byte) }}

// raw is the connection under TLS. Reads come from the goroutine that reads
// the Conn only.
type raw struct {
	net.Conn
	now   bool // do not wait
	dry   bool // the last read took all there was
	piece *[Piece]byte
	r, w  int // what of piece has not been read yet

	try *attempt // made when it is first needed
}

// Read reads from the network, or, while now is set, only what has arrived.
func (r *raw) Read(p []byte) (int, error) {
	if r.r < r.w {
		return r.rest(p), nil
	}
	if !r.now {
		n, err := r.Conn.Read(p)
		r.dry = n < len(p)
		return n, err
	}
	if r.dry {
		return 0, errNothing
	}
	if r.try == nil {
		r.try = newAttempt(r.Conn)
	}
	if r.piece == nil {
		r.piece = pieces.Get().(*[Piece]byte)
	}
	n, err := r.try.read(r.piece[:])
	r.dry = n < len(r.piece)
	if n == 0 {
		r.release()
		if err == nil {
			err = errNothing
		}
		return 0, err
	}
	r.r, r.w = 0, n
	return r.rest(p), nil
}

// rest returns bytes of the piece, and the piece to the pool after the last.
func (r *raw) rest(p []byte) int {
	n := copy(p, r.piece[r.r:r.w])
	if r.r += n; r.r == r.w {
		r.release()
	}
	return n
}

func (r *raw) release() {
	pieces.Put(r.piece)
	r.piece, r.r, r.w = nil, 0, 0
}

// attempt reads from a socket without waiting. It allocates nothing per read.
type attempt struct {
	conn syscall.RawConn
	once func(fd uintptr) bool
	p    []byte
	n    int
	err  error
}

// newAttempt returns an attempt on c, which never finds anything when c is not
// a socket.
func newAttempt(c net.Conn) *attempt {
	a := &attempt{}
	if s, ok := c.(syscall.Conn); ok {
		if conn, err := s.SyscallConn(); err == nil {
			a.conn = conn
			a.once = func(fd uintptr) bool {
				a.n, a.err = readSocket(fd, a.p)
				return true // whatever came: do not wait for more
			}
		}
	}
	return a
}

// read returns 0 and no error when nothing has arrived.
func (a *attempt) read(p []byte) (int, error) {
	if a.conn == nil {
		return 0, nil
	}
	a.p = p
	err := a.conn.Read(a.once)
	a.p = nil
	if err != nil {
		return 0, err
	}
	return a.n, a.err
}
