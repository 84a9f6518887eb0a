package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Bounds of an AMQP link of a device.
const (
	atOnce    = 64                           // messages that are handed to the connection with one call
	maxPosts  = 64                           // messages without acknowledgement that wait to be sent
	commands  = causeway.MaxDeliveryInFlight // commands that are not settled
	twinSlots = 64                           // messages about the twin under way
)

// amqpLink is a device's part of a connection: its token, and a session with its
// links.
type amqpLink struct {
	t       *amqpTransport
	d       *Device
	conn    *shared
	session *amqp.Session
	expires time.Time

	ctx    context.Context // ends with the link, for who waits
	cancel context.CancelCauseFunc
	wake   chan struct{} // there is something to send; capacity 1
	posts  chan []byte
	stop   chan struct{} // closed by goodbye
	sent   chan struct{} // closed when there was nothing to send after that
	gate   chan struct{} // held while links about the twin are attached
	wanted chan bool     // what ready returns

	stopping sync.Once

	telemetry   *amqp.Sender
	methodsOut  *amqp.Sender
	twinOut     *amqp.Sender // nil until it is wanted; guarded by d.mu
	unsent      *outgoing    // the first message that is not handed to the connection; guarded by d.mu
	dispatching sync.Mutex   // held while what arrived is handed to the device
	over        bool         // nothing is handed to it any more; guarded by dispatching
}

var _ link = (*amqpLink)(nil)

func newAMQPLink(t *amqpTransport, conn *shared) *amqpLink {
	l := &amqpLink{
		t: t, d: t.d, conn: conn,
		wake: make(chan struct{}, 1), posts: make(chan []byte, maxPosts), stop: make(chan struct{}), sent: make(chan struct{}),
		gate: make(chan struct{}, 1), wanted: make(chan bool, 1),
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// attach shows the token and attaches the links the device needs.
func (l *amqpLink) attach(ctx context.Context) error {
	d := l.d
	token, expires := d.proof(time.Now())
	if token != "" {
		if err := l.conn.cbs.put(ctx, hubamqp.AudienceOf(d.host, d.id), token); err != nil {
			return err
		}
		l.expires = expires
	}
	var err error
	if l.session, err = l.conn.conn.Begin(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	twin := d.twinWanted
	d.mu.Unlock()
	work := []func(context.Context) error{l.attachTelemetry}
	if d.o.Commands != nil {
		work = append(work, l.attachCommands)
	}
	if d.o.Methods != nil {
		work = append(work, l.attachMethods)
	}
	if twin {
		work = append(work, l.wantTwin)
	}
	return together(ctx, work)
}

// together calls functions at the same time and returns their first error.
func together(ctx context.Context, work []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, f := range work {
		all.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err) // the first one counts
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (l *amqpLink) address(k hubamqp.Kind) string { return hubamqp.DeviceAddress(k, l.d.id) }

// properties are those of a link; pair names the two links of a pair.
func (l *amqpLink) properties(pair string) codec.Map {
	return linkProperties(&l.d.o.Options, hubamqp.LinkProperties{ModelID: l.d.o.ModelID, ChannelCorrelationID: pair})
}

func (l *amqpLink) attachTelemetry(ctx context.Context) (err error) {
	cfg := amqp.LinkConfig{Target: l.address(hubamqp.KindTelemetry), SndSettleMode: codec.SendMixed}
	l.telemetry, err = l.session.AttachSender(ctx, cfg, amqp.SenderOptions{
		Handler: (*telemetryEvents)(l), Unsettled: l.d.o.InFlight, Properties: l.properties(""),
	})
	return err
}

func (l *amqpLink) ready() <-chan bool { return l.wanted }

// start has everything sent that is in flight. What the device listens to was
// granted before.
func (l *amqpLink) start() {
	l.wanted <- true
	l.unsent = l.d.pending.first
	l.poke()
}

func (l *amqpLink) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *amqpLink) run() error {
	l.d.all.Go(l.pump)
	if !l.expires.IsZero() {
		l.d.all.Go(func() {
			sign := func() (string, time.Time) { return l.d.proof(time.Now()) }
			l.conn.cbs.renew(l.ctx, hubamqp.AudienceOf(l.d.host, l.d.id), l.expires, sign, l.end)
		})
	}
	<-l.ctx.Done()
	l.leave()
	return context.Cause(l.ctx)
}

// leave ends the session and the use of the connection. What arrives from then
// on is dropped.
func (l *amqpLink) leave() {
	if l.session != nil {
		_ = l.session.End(nil) // nothing to do when it has ended already
	}
	l.dispatching.Lock()
	l.over = true
	l.dispatching.Unlock()
	l.t.pool.leave(l.conn)
}

// dispatch hands something that arrived to the device, unless the link is over.
func (l *amqpLink) dispatch(f func()) {
	l.dispatching.Lock()
	defer l.dispatching.Unlock()
	if !l.over {
		f()
	}
}

func (l *amqpLink) end(reason error) {
	if !errors.Is(reason, ErrClosed) {
		reason = amqpError(reason)
	}
	l.cancel(reason)
}

// lost ends the link because one of its links was detached.
func (l *amqpLink) lost(err error) {
	if err == nil {
		err = amqp.ErrDetached
	}
	l.end(err)
}

// goodbye waits until what was handed over is sent, as far as the hub takes it.
func (l *amqpLink) goodbye(grace time.Duration) {
	l.stopping.Do(func() { close(l.stop) })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-l.sent:
	case <-l.ctx.Done():
	case <-timer.C:
	}
	l.end(ErrClosed)
}
