package accept_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/accept"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a connection: the first byte admits it, the second ends it.
type line struct{ nc net.Conn }

// world is a group on a network in memory.
type world struct {
	t     *testing.T
	net   *memnet.Listener
	group *accept.Group[*line]
	stop  context.CancelFunc
	err   chan error

	mu      sync.Mutex
	refused int
	stopped int
	killed  int
	stuck   bool // connections do not end in order
}

// serve starts a group with the bounds of o.
func serve(t *testing.T, l *memnet.Listener, from net.Listener, o accept.Options[*line]) *world {
	w := &world{t: t, net: l, err: make(chan error, 1)}
	o.Name, o.Log = "ABC", slog.New(slog.DiscardHandler)
	o.New = func(nc net.Conn) *line { return &line{nc} }
	o.Start = w.run
	o.Refused = func() { w.count(&w.refused) }
	o.Stop = func(c *line) {
		if w.count(&w.stopped); !w.stuck {
			_ = c.nc.Close()
		}
	}
	o.Kill = func(c *line) {
		w.count(&w.killed)
		_ = c.nc.Close()
	}
	ctx, stop := context.WithCancel(t.Context())
	w.stop, w.group = stop, accept.New(ctx, o)
	go func() { w.err <- w.group.Serve(ctx, from) }()
	return w
}

func (w *world) count(n *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*n++
}

func (w *world) run(c *line) {
	var b [1]byte
	_, err := c.nc.Read(b[:])
	w.group.Admit()
	if err == nil {
		_, _ = c.nc.Read(b[:])
	}
	_ = c.nc.Close()
	w.group.Go(func() { w.group.Remove(c) })
}

func (w *world) dial() net.Conn {
	w.t.Helper()
	nc, err := w.net.Dial(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return nc
}

// open returns how many connections there are.
func (w *world) open() (n int) {
	synctest.Wait()
	w.group.Each(func(*line) { n++ })
	return n
}

func (w *world) expect(what string, got, want int) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %d, want %d", what, got, want)
	}
}

// ended reports whether the server has closed the connection.
func ended(nc net.Conn) bool {
	synctest.Wait()
	_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := nc.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// TestHalfOpen: at the bound those to come wait until one is admitted or gone.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("x")
		w := serve(t, l, l, accept.Options[*line]{HalfOpen: 2, Connections: 10, Grace: time.Second})
		one, two := w.dial(), w.dial()
		three, four := w.dial(), w.dial()
		w.expect("half-open", w.open(), 2)
		_, _ = one.Write([]byte("a"))
		w.expect("one admitted", w.open(), 3)
		_ = two.Close()
		w.expect("one gone", w.open(), 3)
		w.stop()
		if err := <-w.err; err != nil {
			t.Error(err)
		}
		w.expect("left", w.open(), 0)
		if !ended(one) || !ended(three) || !ended(four) {
			t.Error("a connection is still open")
		}
	})
}

// TestConnections: above the bound connections are closed at once, and take no
// place.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("x")
		w := serve(t, l, l, accept.Options[*line]{HalfOpen: 3, Connections: 2, Grace: time.Second})
		one, two := w.dial(), w.dial()
		for range 5 {
			if !ended(w.dial()) {
				t.Error("a connection above the bound is open")
			}
		}
		w.expect("refused", w.refused, 5)
		_ = one.Close()
		w.expect("open", w.open(), 1)
		if ended(w.dial()) {
			t.Error("there is room, and no connection is let in")
		}
		_ = two.Close()
		w.stop()
		if err := <-w.err; err != nil {
			t.Error(err)
		}
	})
}

// TestStop: connections end in order, and those that do not are cut when the
// grace is over; only then does Life end.
func TestStop(t *testing.T) {
	for name, stuck := range map[string]bool{"in order": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memnet.Listen("x")
				w := serve(t, l, l, accept.Options[*line]{HalfOpen: 9, Connections: 9, Grace: 5 * time.Second})
				w.stuck = stuck
				nc := w.dial()
				w.expect("open", w.open(), 1)
				began := time.Now()
				w.stop()
				synctest.Wait()
				if stuck && w.group.Life().Err() != nil {
					t.Error("life ended before the grace")
				}
				if err := <-w.err; err != nil {
					t.Error(err)
				}
				if w.group.Life().Err() == nil {
					t.Error("life goes on")
				}
				took, killed := time.Duration(0), 0
				if stuck {
					took, killed = 5*time.Second, 1
				}
				if got := time.Since(began); got != took {
					t.Errorf("took %v, want %v", got, took)
				}
				w.expect("stopped", w.stopped, 1)
				w.expect("killed", w.killed, killed)
				if !ended(nc) {
					t.Error("the connection is open")
				}
				if _, err := l.Dial(t.Context()); err == nil {
					t.Error("the listener is open")
				}
			})
		})
	}
}

// failing is a listener that fails.
type failing struct {
	net.Listener
	errs []error
}

type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

// TestErrors: what passes is waited for, longer each time, and what does not is
// returned. Neither costs a place.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := accept.Options[*line]{HalfOpen: 1, Connections: 9, Grace: time.Second}
		l := memnet.Listen("x")
		w := serve(t, l, &failing{l, []error{temporary{}, temporary{}, temporary{}}}, o)
		w.dial()
		const pauses = 35 * time.Millisecond
		time.Sleep(pauses - 1) //nolint:forbidigo // the clock of the bubble
		w.expect("during the pauses", w.open(), 0)
		time.Sleep(time.Nanosecond) //nolint:forbidigo // as above
		w.expect("after them", w.open(), 1)
		w.stop()
		if err := <-w.err; err != nil {
			t.Error(err)
		}

		l = memnet.Listen("y")
		fatal := errors.New("no longer")
		w = serve(t, l, &failing{l, []error{fatal}}, o)
		if err := <-w.err; !errors.Is(err, fatal) || err.Error() != "accept ABC connections on y: no longer" {
			t.Errorf("error %v", err)
		}
		w.stop()
	})
}

// slow is a connection whose Close waits.
type slow struct {
	net.Conn
	now bool
}

func (c *slow) Close() error    { return errors.New("says good-bye") }
func (c *slow) CloseNow() error { c.now = true; return c.Conn.Close() }

func TestCloseNow(t *testing.T) {
	open := func() (client, server net.Conn) { return memnet.Pipe("a", "b", 10) }
	gone := func(name string, client, nc net.Conn) {
		if err := accept.CloseNow(nc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := io.ReadAll(client); err != nil || len(b) > 0 {
			t.Errorf("%s: the client read %q, %v", name, b, err)
		}
	}
	client, server := open()
	gone("plain", client, server)
	client, server = open()
	gone("tls", client, tls.Server(server, &tls.Config{}))
	client, server = open()
	s := &slow{Conn: server}
	if gone("slow", client, s); !s.now {
		t.Error("CloseNow was not called")
	}
}

// TestWorkers: who waits goes on with the last that ends, also when others have
// begun meanwhile.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex
			w    accept.Workers
			rest bool
			wg   sync.WaitGroup
		)
		do := func(f func()) {
			mu.Lock()
			f()
			mu.Unlock()
			synctest.Wait()
		}
		wait := func() {
			mu.Lock()
			defer mu.Unlock()
			w.Wait(&mu)
			rest = true
		}
		wait() // for nobody
		rest = false
		do(w.Begin)
		do(w.Begin)
		wg.Go(wait)
		wg.Go(wait)
		do(w.End)
		do(w.Begin)
		do(w.End)
		do(func() {
			if rest || w.Idle() {
				t.Error("one still works")
			}
		})
		do(w.End)
		wg.Wait()
		if !rest || !w.Idle() {
			t.Error("nobody works any more")
		}
	})
}
