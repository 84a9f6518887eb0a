// Package accept is how connections of a server begin and end together: it
// accepts them from a listener within bounds, waits out a want of file
// descriptors, and when the server stops lets them finish for a while.
//
// It knows network connections and nothing of what is carried: what a
// connection is, how it begins and how it ends is given by the protocol.
package accept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/obs"
)

// longestPause is how long is waited at most before the listener is tried
// again.
const longestPause = time.Second

// Options are what a protocol makes of the connections of a group, and their
// bounds. All fields are to be set.
type Options[C comparable] struct {
	Name string // of the protocol, in the log
	Log  *slog.Logger

	// HalfOpen bounds the connections that have not been admitted. At the bound
	// none is accepted; those to come wait in the listener's backlog.
	HalfOpen int
	// Connections bounds all connections. Those above it are closed as they are
	// accepted.
	Connections int
	// Grace is how long connections may take to finish when the group stops.
	Grace time.Duration

	// New makes a connection, and Start runs it in a goroutine of the group.
	New   func(nc net.Conn) C
	Start func(c C)
	// Refused hears of connections above the bound.
	Refused func()
	// Stop ends a connection in order, as soon as nothing is under way, and Kill
	// at once. They must not block, nor call the group but for Go.
	Stop, Kill func(c C)
}

// Group is the connections of one listener.
type Group[C comparable] struct {
	o    Options[C]
	life context.Context
	end  context.CancelFunc
	half chan struct{} // a place for each half-open connection
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[C]struct{}
}

// New returns a group that is to be served. The values of its Life are those of
// ctx.
func New[C comparable](ctx context.Context, o Options[C]) *Group[C] {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	return &Group[C]{o: o, life: life, end: end, half: make(chan struct{}, o.HalfOpen), conns: make(map[C]struct{})}
}

// Life returns what ends when the connections have had the time to finish.
func (g *Group[C]) Life() context.Context { return g.life }

// Serve accepts connections from l until ctx ends, and closes l. Then it stops
// the connections and waits until all were removed and their goroutines ended,
// with the grace. It returns nil after ctx ended, and else the error of l. It
// is called once.
func (g *Group[C]) Serve(ctx context.Context, l net.Listener) error {
	defer g.end()
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(accepting, func() { _ = l.Close() })()
	err := g.accept(accepting, l)
	stop()
	_ = l.Close()
	g.stop()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept %s connections on %s: %w", g.o.Name, l.Addr(), err)
}

// accept starts a goroutine for each connection until l is closed.
func (g *Group[C]) accept(ctx context.Context, l net.Listener) error {
	var pause time.Duration
	for {
		select {
		case g.half <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		nc, err := l.Accept()
		if err != nil {
			g.Admit()
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			if e, ok := errors.AsType[net.Error](err); !ok || !e.Temporary() { //nolint:staticcheck // the only way to tell "out of descriptors" from the end
				return err
			}
			// Most likely out of file descriptors: wait for some to be freed.
			pause = min(max(2*pause, 5*time.Millisecond), longestPause)
			g.o.Log.Warn("cannot accept an "+g.o.Name+" connection, trying again", "pause", pause, obs.KeyError, err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		if g.full() {
			g.Admit()
			g.o.Refused()
			_ = CloseNow(nc)
			continue
		}
		c := g.o.New(nc)
		g.add(c)
		g.wg.Go(func() { g.o.Start(c) })
	}
}

// full reports whether there are as many connections as there may be. Only
// accept adds any.
func (g *Group[C]) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns) >= g.o.Connections
}

func (g *Group[C]) add(c C) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
	g.wg.Add(1)
}

// Remove is the last that is heard of c, which Start was called with.
func (g *Group[C]) Remove(c C) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	g.wg.Done()
}

// Admit gives back the place of a half-open connection: it is to be called once
// for each.
func (g *Group[C]) Admit() { <-g.half }

// Go runs f in a goroutine that Serve waits for. It is for connections that
// have not been removed.
func (g *Group[C]) Go(f func()) { g.wg.Go(f) }

// Each calls f with every connection. f must not block, nor call the group but
// for Go.
func (g *Group[C]) Each(f func(c C)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		f(c)
	}
}

// stop ends all connections in order and waits for them, and for no longer
// than the grace.
func (g *Group[C]) stop() {
	g.Each(g.o.Stop)
	hurry := time.AfterFunc(g.o.Grace, func() {
		g.end()
		g.Each(g.o.Kill)
	})
	defer hurry.Stop()
	g.wg.Wait()
}
