// Package wsnet carries stream protocols over WebSocket: an [http.Handler]
// that upgrades requests, and for each sub-protocol a [net.Listener] that
// yields the connections which chose it.
//
// It knows WebSocket and nothing of what is carried. To the protocol a
// connection is a stream of bytes: messages may hold part of a packet or
// several, and only binary ones are accepted.
package wsnet

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// The sub-protocols of IoT Hub. AMQPStandard is the name that the AMQP WebSocket
// Binding gives to AMQP, for which the Event Hubs client for Go asks.
const (
	MQTT         = "mqtt"
	AMQP         = "AMQPWSB10"
	AMQPStandard = "amqp"
)

// Path is where IoT Hub's clients connect to, EventsPath where those of its
// Event Hubs-compatible endpoint do. PahoPath is where Eclipse Paho does when it is
// given no path, as by the provisioning client for Java.
const (
	Path       = "/$iothub/websocket"
	EventsPath = "/$servicebus/websocket"
	PahoPath   = "/mqtt"
)

// At reports whether clients connect to a path. Some end it with a slash.
func At(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return path == Path || path == EventsPath || path == PahoPath
}

// Options are the settings of a Handler. A zero field means its default.
type Options struct {
	// ReadLimit bounds one message of a client, in bytes. Messages are read as
	// a stream, so this bounds no memory; it ends clients that never end a
	// message. Default 16 MiB.
	ReadLimit int64
	// Backlog bounds the requests of one sub-protocol that wait for Accept.
	// Those above it are refused with 503. Default 1024.
	Backlog int
	// AcceptWait is how long a request waits for Accept. Default 30 s.
	AcceptWait time.Duration

	Log *slog.Logger
}

// Handler upgrades requests to WebSocket connections.
type Handler struct {
	o  Options
	mu sync.RWMutex
	by map[string]*Listener // sub-protocol → listener
}

var _ http.Handler = (*Handler)(nil)

// New returns a handler that refuses everything until Listen was called.
func New(o Options) *Handler {
	if o.ReadLimit <= 0 {
		o.ReadLimit = 16 << 20
	}
	if o.Backlog <= 0 {
		o.Backlog = 1024
	}
	if o.AcceptWait <= 0 {
		o.AcceptWait = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{o: o, by: make(map[string]*Listener)}
}

// Listen returns the listener of a sub-protocol and of its other names. A later
// call for the same one takes its connections over.
func (h *Handler) Listen(subprotocol string, others ...string) *Listener {
	l := &Listener{subprotocol: subprotocol, queue: make(chan *Conn), closed: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by[subprotocol] = l
	for _, name := range others {
		h.by[name] = l
	}
	return l
}

// choose returns the listener of the first sub-protocol of the request that is
// listened for, and its name as the client wrote it. Names are case-sensitive.
func (h *Handler) choose(r *http.Request) (*Listener, string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			if l := h.by[name]; l != nil {
				return l, name
			}
		}
	}
	return nil, ""
}

// ServeHTTP upgrades the request and hands the connection to the listener of
// its sub-protocol. Requests that are not for WebSocket, or for none of the
// sub-protocols, are refused with 400, those that find nobody accepting with
// 503.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "this address speaks WebSocket: send an upgrade request", http.StatusBadRequest)
		return
	}
	l, name := h.choose(r)
	if l == nil {
		http.Error(w, "no known sub-protocol in Sec-WebSocket-Protocol: offer "+h.names(), http.StatusBadRequest)
		return
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > int64(h.o.Backlog) || l.isClosed() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many connections wait to be accepted: try again", http.StatusServiceUnavailable)
		return
	}
	// Origins are not checked: clients prove themselves inside the protocol, not
	// with what a browser adds to a request, and web applications of any origin
	// are legitimate clients.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{name}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil { // it has answered the request
		h.o.Log.Debug("websocket upgrade refused", "remote", r.RemoteAddr, "error", err)
		return
	}
	// The request's context ends with this function, the connection does not.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	c := &Conn{Conn: websocket.NetConn(ctx, ws, websocket.MessageBinary), ws: ws, cancel: cancel, subprotocol: name, tls: r.TLS}
	ws.SetReadLimit(h.o.ReadLimit) // NetConn lifted it
	patience := time.NewTimer(h.o.AcceptWait)
	defer patience.Stop()
	select {
	case l.queue <- c:
		return
	case <-l.closed:
	case <-patience.C:
	}
	h.o.Log.Warn("websocket connection was not accepted", "remote", r.RemoteAddr, "subprotocol", name)
	_ = ws.Close(websocket.StatusTryAgainLater, "nobody accepts connections")
	cancel()
}

func (h *Handler) names() string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return strings.Join(slices.Sorted(maps.Keys(h.by)), ", ")
}

// Listener yields the connections of one sub-protocol.
type Listener struct {
	subprotocol string
	queue       chan *Conn
	closed      chan struct{}
	once        sync.Once
	waiting     atomic.Int64
}

var _ net.Listener = (*Listener)(nil)

// Accept waits for the next connection; it is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Requests that wait for it are told to try again.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *Listener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Addr names the sub-protocol.
func (l *Listener) Addr() net.Addr { return addr(l.subprotocol) }

type addr string

func (addr) Network() string  { return "websocket" }
func (a addr) String() string { return "websocket:" + string(a) }

// Conn is one WebSocket connection as a stream. A deadline that passes while
// somebody reads or writes closes it.
type Conn struct {
	net.Conn
	ws          *websocket.Conn
	cancel      context.CancelFunc
	aborted     atomic.Bool
	subprotocol string
	tls         *tls.ConnectionState
}

// Subprotocol returns the sub-protocol the client chose.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// ConnectionState returns the state of the TLS connection underneath, client
// certificates included; it is empty when there was no TLS.
func (c *Conn) ConnectionState() tls.ConnectionState {
	if c.tls == nil {
		return tls.ConnectionState{}
	}
	return *c.tls
}

// Close says good-bye as WebSocket wants it, which takes some seconds when the
// other end does not answer, and closes the connection.
func (c *Conn) Close() error {
	defer c.cancel()
	if c.aborted.Load() {
		return c.ws.CloseNow()
	}
	return c.Conn.Close()
}

// CloseNow ends reads and writes under way, and lets all later ones fail. It
// does not wait for anything, and does not replace Close.
func (c *Conn) CloseNow() error {
	c.aborted.Store(true)
	c.cancel()
	return nil
}
