// Package claimstest has what tests of a [claims.Plane] need around it: a head
// that takes connections and believes whom the test lets it believe, and the
// client's end.
package claimstest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Head serves the links of its connections by a plane. Its peers have the right
// to connect as a back end to what is below Prefix. The fields are set before
// use.
type Head struct {
	Plane  claims.Plane
	Hub    string
	Host   string
	Prefix string

	mu    sync.Mutex
	deny  bool
	paths []string
	bound map[claims.Link]bool
}

// Serve serves a connection.
func (h *Head) Serve(nc net.Conn, cfg *amqp.Config) *amqp.Conn {
	return amqp.Serve(nc, cfg, &peer{head: h})
}

// Deny has nobody authorized from now on.
func (h *Head) Deny() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deny = true
}

// Authorized returns the paths that peers were authorized for.
func (h *Head) Authorized() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.paths...)
}

// Expire ends what links were allowed by.
func (h *Head) Expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.bound {
		delete(h.bound, l)
		l.Close(&codec.Condition{Name: amqp.UnauthorizedAccess})
	}
}

// peer is one connection.
type peer struct {
	head *Head
	conn *amqp.Conn
}

var (
	_ amqp.Handler = (*peer)(nil)
	_ claims.Peer  = (*peer)(nil)
)

func (p *peer) Open(c *amqp.Conn, _ *codec.Open) error { p.conn = c; return nil }

func (p *peer) Attach(a *amqp.Attach) error {
	addr, err := hubamqp.ParseAddress(strings.Clone(a.Address()))
	if err == nil {
		err = p.head.Plane.Attach(p, addr, a)
	}
	if err != nil {
		return hubamqp.ConditionOf(err)
	}
	return nil
}

func (p *peer) Flush(*amqp.Conn)         { p.head.Plane.Flush(p) }
func (p *peer) Closed(*amqp.Conn, error) { p.head.Plane.Closed(p) }

func (p *peer) Hub() string      { return p.head.Hub }
func (p *peer) Host() string     { return p.head.Host }
func (p *peer) Conn() *amqp.Conn { return p.conn }

func (p *peer) Authorize(path string, right auth.Rights) (time.Time, error) {
	h := p.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deny || right != auth.ServiceConnect || !strings.HasPrefix(path, h.Prefix) {
		return time.Time{}, auth.Unauthorized("test", errors.New("refused"))
	}
	h.paths = append(h.paths, path)
	return time.Time{}, nil
}

func (p *peer) Bind(l claims.Link, _ string, _ auth.Rights) func() {
	h := p.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bound == nil {
		h.bound = make(map[claims.Link]bool)
	}
	h.bound[l] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.bound, l)
	}
}

// Dial begins a session as the client on nc, which is cut when the test ends.
func Dial(t testing.TB, nc net.Conn, cfg amqp.Config) *amqp.Session {
	t.Helper()
	c, err := amqp.Dial(t.Context(), nc, amqp.Prepare(cfg), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Abort(nil)
		<-c.Done()
	})
	s, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Condition returns the name of the condition in err, or what it says.
func Condition(err error) string {
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c.Name
	}
	return fmt.Sprint(err)
}
