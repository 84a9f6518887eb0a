package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// idlers are connections over AMQP on which nothing happens. The server parks
// them after a few seconds.
type idlers struct {
	w       *world
	since   time.Time
	devices []identity
	peers   []*amqppeer.Peer
	inboxes []*amqppeer.Receiver
}

// parkedAfter is how long a connection idles before it is parked, and some more.
const parkedAfter = 7 * time.Second

// idle opens connections of devices that wait for commands.
func (w *world) idle(t *testing.T, n int) *idlers {
	t.Helper()
	l := &idlers{w: w}
	for i := range n {
		l.devices = append(l.devices, w.createDevice(t, fmt.Sprintf("idle-%02d", i)))
	}
	l.connect(t)
	return l
}

func (l *idlers) connect(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.peers, l.inboxes = make([]*amqppeer.Peer, len(l.devices)), make([]*amqppeer.Receiver, len(l.devices))
	var wg sync.WaitGroup
	for i, d := range l.devices {
		wg.Go(func() {
			p, err := l.w.engine(ctx, "", d)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(p.Cut)
			l.peers[i] = p
			if l.inboxes[i], err = p.Receiver(ctx, amqp.LinkConfig{Source: "/devices/" + d.id + "/messages/devicebound"}, 10); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	l.since = time.Now()
}

// restart checks that the connections, which must be parked by now, are woken by
// commands and still can send, ends the server in order, of which each is told,
// and starts it again.
func (l *idlers) restart(t *testing.T) {
	t.Helper()
	eventually(t, "connections are parked", func() bool { return time.Since(l.since) > parkedAfter })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	back, err := l.w.engine(ctx, l.w.ownerToken(t))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Cut()
	s, err := back.Session.AttachSender(ctx, amqp.LinkConfig{Target: hubamqp.ServiceCommandsAddress}, amqp.SenderOptions{Handler: engineHandler{}})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range l.devices[:len(l.devices)/2] {
		wait, err := engineOutlet{s}.send(ctx, causeway.Message{To: "/devices/" + d.id + "/messages/devicebound", Body: []byte(d.id)})
		if err == nil {
			err = wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.inboxes[i].Next(ctx)
		if err != nil {
			t.Fatalf("%s: %v", d.id, err)
		}
		l.inboxes[i].Accept(got)
		o, err := telemetryOf(ctx, l.peers[i], d)
		if err != nil {
			t.Fatalf("%s: %v", d.id, err)
		}
		if wait, err = o.send(ctx, causeway.Message{Body: []byte("awake")}); err == nil {
			err = wait(ctx)
		}
		if err != nil {
			t.Errorf("%s: %v", d.id, err)
		}
	}
	if err := l.w.Stop(); err != nil {
		t.Errorf("stop with parked connections: %v", err)
	}
	for i, p := range l.peers {
		select {
		case <-p.Done():
		case <-ctx.Done():
			t.Fatalf("%s is not told of the end", l.devices[i].id)
		}
		if got := conditionIn(p.Err()); got != amqp.ConnectionForced {
			t.Errorf("%s: the connection ended with %v, want %s", l.devices[i].id, p.Err(), amqp.ConnectionForced)
		}
	}
	if err := l.w.Start(ctx); err != nil {
		t.Fatal(err)
	}
	l.w.http.CloseIdleConnections()
	l.connect(t)
}
