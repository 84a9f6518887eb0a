package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// ledger is what is known of commands with feedback. Nothing that was said to be
// settled may come again.
type ledger struct {
	mu        sync.Mutex
	sent      map[string]bool   // accepted by the hub
	delivered map[string]int    // how often to its device
	done      map[string]bool   // accepted by its device, which was told that it is settled
	feedback  map[string]string // in which message there was feedback of it
	closed    map[string]bool   // messages of feedback that are settled
	again     int               // deliveries and messages that came more than once
	faults    []string
}

func newLedger() *ledger {
	return &ledger{sent: map[string]bool{}, delivered: map[string]int{}, done: map[string]bool{}, feedback: map[string]string{}, closed: map[string]bool{}}
}

func (l *ledger) with(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// send sends commands to a device, each once, and notes which the hub has taken.
func (l *ledger) send(ctx context.Context, w *world, owner string, d identity) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		if a, err := w.azure(ctx, "localhost", owner); err == nil {
			if out, err := a.session.NewSender(ctx, hubamqp.ServiceCommandsAddress, nil); err == nil {
				l.sendOn(ctx, azureOutlet{out}, d, attempt)
			}
			_ = a.Close()
		}
		pause(ctx)
	}
}

func (l *ledger) sendOn(ctx context.Context, out outlet, d identity, attempt int) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d-%d", d.id, attempt, n)
		wctx, cancel := context.WithTimeout(ctx, amqpWait)
		wait, err := out.send(wctx, causeway.Message{ID: id, To: "/devices/" + d.id + "/messages/devicebound", Body: []byte(id), Ack: causeway.AckFull})
		if err == nil {
			err = wait(wctx)
		}
		cancel()
		if err != nil {
			return // a queue that is full ends the attempt, too
		}
		l.with(func() { l.sent[id] = true })
	}
}

// receive takes what comes on a link, with two-phase settlement: once accept has
// returned, the server has said that the message is settled.
func receive(ctx context.Context, w *world, name, token, address string, take func(m *goamqp.Message, accept func() error) error) {
	second := goamqp.ReceiverSettleModeSecond
	for ctx.Err() == nil {
		if a, err := w.azure(ctx, name, token); err == nil {
			in, err := a.session.NewReceiver(ctx, address, &goamqp.ReceiverOptions{Credit: 5, SettlementMode: &second})
			for err == nil {
				var m *goamqp.Message
				if m, err = in.Receive(ctx, nil); err == nil {
					err = take(m, func() error {
						wctx, cancel := context.WithTimeout(ctx, amqpWait)
						defer cancel()
						return in.AcceptMessage(wctx, m)
					})
				}
			}
			_ = a.Close()
		}
		pause(ctx)
	}
}

// command takes a command on its device.
func (l *ledger) command(m *goamqp.Message, accept func() error) error {
	id := string(m.GetData())
	l.with(func() {
		if l.done[id] {
			l.fault("command %s comes again after it was settled", id)
		}
		if l.delivered[id]++; l.delivered[id] > 1 {
			l.again++
		}
	})
	if err := accept(); err != nil {
		return err
	}
	l.with(func() { l.done[id] = true })
	return nil
}

// notice takes a message of feedback.
func (l *ledger) notice(m *goamqp.Message, accept func() error) error {
	message := fmt.Sprint(m.Properties.MessageID)
	var records []struct{ OriginalMessageID, StatusCode string }
	if err := json.Unmarshal(m.GetData(), &records); err != nil {
		l.with(func() { l.fault("feedback %s: %v: %.100s", message, err, m.GetData()) })
		return err
	}
	l.with(func() {
		if l.closed[message] {
			l.fault("feedback %s comes again after it was settled", message)
		}
		for i, r := range records {
			before, seen := l.feedback[r.OriginalMessageID]
			if i == 0 && seen {
				l.again++
			}
			switch {
			case r.StatusCode != "Success":
				l.fault("%s: %s", r.OriginalMessageID, r.StatusCode)
			case l.delivered[r.OriginalMessageID] == 0:
				l.fault("%s: feedback of a command that was not delivered", r.OriginalMessageID)
			case seen && before != message:
				l.fault("%s: feedback in message %s and in message %s", r.OriginalMessageID, before, message)
			}
			l.feedback[r.OriginalMessageID] = message
		}
	})
	if err := accept(); err != nil {
		return err
	}
	l.with(func() { l.closed[message] = true })
	return nil
}

// counts returns how many commands were taken, settled by devices, and messages
// of feedback settled.
func (l *ledger) counts() (sent, done, notices int) {
	l.with(func() { sent, done, notices = len(l.sent), len(l.done), len(l.closed) })
	return sent, done, notices
}

// TestKillWithCommands kills the server while commands are sent, delivered and
// settled, and their feedback is received and settled, all over AMQP. Each
// command that was taken is delivered until its device has settled it, and there
// is feedback of it in one message, which comes until it is settled.
func TestKillWithCommands(t *testing.T) {
	t.Parallel()
	const devices = 5
	kills := rounds(8)
	w := newWorld(t, t.TempDir())
	owner := w.ownerToken(t)
	l := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range devices {
		d := w.createDevice(t, fmt.Sprintf("d%d", i))
		wg.Go(func() { l.send(ctx, w, owner, d) })
		wg.Go(func() {
			receive(ctx, w, "localhost/devices/"+d.id, d.token(), "/devices/"+d.id+"/messages/devicebound", l.command)
		})
	}
	for range 2 {
		wg.Go(func() { receive(ctx, w, "localhost", owner, hubamqp.FeedbackAddress, l.notice) })
	}
	check := func() {
		l.with(func() {
			for _, f := range l.faults {
				t.Error(f)
			}
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	for round := range kills {
		sent, done, notices := l.counts()
		eventually(t, fmt.Sprintf("round %d: commands are sent and settled, and there is feedback", round), func() bool {
			check()
			s, d, n := l.counts()
			return s >= sent+100 && d >= done+100 && n > notices
		})
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) // a random point of the load
		w.kill(t)
	}
	// The load goes on meanwhile: it makes messages of feedback full, which then
	// need not wait.
	var want []string
	l.with(func() {
		for id := range l.sent {
			want = append(want, id)
		}
	})
	eventually(t, "each command that was taken has its feedback", func() bool {
		check()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range want {
			if l.feedback[id] == "" {
				return false
			}
		}
		return true
	})
	cancel()
	wg.Wait()
	check()
	sent, done, notices := l.counts()
	t.Logf("%d commands taken, %d settled, %d messages of feedback settled over %d kills; %d came more than once", sent, done, notices, kills, l.again)
}
