package amqp_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// called is what became of a call.
type called struct {
	result causeway.Result
	err    error
}

// invoke calls a method of dev1.
func (w *world) invoke(method, payload string) <-chan called {
	ch := make(chan called, 1)
	go func() {
		r, err := w.hub.Invoke(w.t.Context(), w.dev1, causeway.Call{Method: method, Payload: []byte(payload)}, 0, 30*time.Second)
		ch <- called{r, err}
	}()
	return ch
}

// call waits for a call.
func (r *receiver) call() hubamqp.MethodRequest {
	r.c.t.Helper()
	d := r.next()
	p, err := hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), d.Payload)
	if err != nil {
		r.c.t.Fatal(err)
	}
	if !d.Settled {
		r.settle(d, codec.Accepted())
	}
	return p
}

func TestMethods(t *testing.T) {
	for name, settled := range map[string]bool{"settled": true, "unsettled": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open(w.dev1)
				if a := <-w.invoke("m", "1"); causeway.CodeOf(a.err) != causeway.DeviceNotOnline {
					t.Errorf("without links: %v", a.err)
				}
				address := "/devices/dev1/methods/deviceBound"
				cfg := wire.LinkConfig{}
				if settled {
					cfg.SndSettleMode = codec.SendSettled
				}
				r, err := c.tryIn(address, cfg, 10)
				if err != nil {
					t.Fatal(err)
				}
				if got := w.hub.Lanes(t, w.dev1); got != 0 {
					t.Errorf("with half a pair: lanes %b", got)
				}
				s, err := c.tryOut(address, cfg, hubamqp.LinkProperties{ChannelCorrelationID: "methods:x"})
				if err != nil {
					t.Fatal(err)
				}
				if got := w.hub.Lanes(t, w.dev1); got != causeway.LaneMethods {
					t.Errorf("lanes %b", got)
				}
				answer := func(p hubamqp.MethodRequest, status int, payload string) {
					t.Helper()
					got := c.deliver(s, wire.Transfer{Settled: settled, Payload: hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{
						Correlation: p.Correlation, Result: causeway.Result{Status: status, Payload: []byte(payload)},
					})})
					if got != "accepted" {
						t.Errorf("the answer was %s", got)
					}
				}
				one, two := w.invoke("first", `{"a":1}`), w.invoke("second", "")
				p, q := r.call(), r.call()
				if p.Call.Method == "second" {
					p, q = q, p
				}
				if p.Call.Method != "first" || string(p.Call.Payload) != `{"a":1}` || q.Call.Method != "second" || string(q.Call.Payload) != "null" {
					t.Errorf("called %+v %+v", p, q)
				}
				answer(q, 200, `[2]`)
				answer(p, 404, ``)
				answer(p, 200, `"again"`) // nobody waits any more
				if a := <-one; a.err != nil || a.result.Status != 404 || len(a.result.Payload) != 0 {
					t.Errorf("first: %+v %v", a.result, a.err)
				}
				if a := <-two; a.err != nil || a.result.Status != 200 || string(a.result.Payload) != "[2]" {
					t.Errorf("second: %+v %v", a.result, a.err)
				}
				s.Close(nil)
				synctest.Wait()
				if got := w.hub.Lanes(t, w.dev1); got != 0 {
					t.Errorf("with half a pair: lanes %b", got)
				}
			})
		})
	}
}

// TestBadAnswers: the caller hears of answers that are none.
func TestBadAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		c := w.open(w.dev1)
		r, s := c.in(hubamqp.KindMethods, w.dev1, 10), c.out(hubamqp.KindMethods, w.dev1)
		for _, x := range []struct {
			name    string
			payload string
			status  bool
			want    string
		}{
			{"not JSON", "{", true, "accepted"},
			{"too large", `"` + strings.Repeat("x", causeway.MaxMethodPayload) + `"`, true, "rejected " + hubamqp.MessageSize},
			{"without a status", "1", false, "rejected " + hubamqp.ArgumentError},
		} {
			a := w.invoke("m", "")
			p := r.call()
			b := hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: p.Correlation, Result: causeway.Result{Status: 200, Payload: []byte(x.payload)}})
			if !x.status {
				b, _ = (&codec.Message{Properties: codec.Properties{CorrelationID: codec.UUID(p.Correlation)}, Body: codec.Data([]byte("1"))}).Append(nil)
			}
			if got := c.deliver(s, wire.Transfer{Payload: b}); got != x.want {
				t.Errorf("%s: %s, want %s", x.name, got, x.want)
			}
			if a := <-a; causeway.CodeOf(a.err) != causeway.GenericBadGateway {
				t.Errorf("%s: the caller got %v", x.name, a.err)
			}
		}
		if got := c.deliver(s, wire.Transfer{Payload: []byte("no message")}); got != "rejected amqp:decode-error" {
			t.Error(got)
		}
		// An answer without a body is that of a method that returns nothing.
		a := w.invoke("m", "")
		p := r.call()
		b, _ := (&codec.Message{
			Properties:            codec.Properties{CorrelationID: codec.UUID(p.Correlation)},
			ApplicationProperties: codec.NewMap(codec.String("IoThub-status"), codec.Int(204)),
		}).Append(nil)
		if got := c.deliver(s, wire.Transfer{Payload: b}); got != "accepted" {
			t.Error(got)
		}
		if a := <-a; a.err != nil || a.result.Status != 204 || len(a.result.Payload) != 0 {
			t.Errorf("%+v %v", a.result, a.err)
		}
	})
}

// TestMethodsEnd: calls fail when the links end.
func TestMethodsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		r := c.in(hubamqp.KindMethods, w.dev1, 10)
		c.out(hubamqp.KindMethods, w.dev1)
		a := w.invoke("m", "")
		r.call()
		c.c.Close(nil)
		got := <-a
		hubtest.WantCode(t, got.err, causeway.DeviceConnectionClosedRemotely)
	})
}

// TestMethodWithoutCredit: a call waits for credit as long as its caller does.
func TestMethodWithoutCredit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		r, s := c.in(hubamqp.KindMethods, w.dev1, 0), c.out(hubamqp.KindMethods, w.dev1)
		dev := w.tap.Device(w.dev1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := dev.Invoke(ctx, causeway.Call{Method: "m"}); err == nil || time.Since(begin) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		a := w.invoke("m", "")
		r.quiet(time.Second)
		r.Grant(1)
		c.c.Push()
		p := r.call()
		c.deliver(s, wire.Transfer{Payload: hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: p.Correlation, Result: causeway.Result{Status: 200}})})
		if a := <-a; a.err != nil || a.result.Status != 200 {
			t.Errorf("%+v %v", a.result, a.err)
		}
	})
}

// TestTooManyCalls is the bound of calls that a device has under way.
func TestTooManyCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		c.in(hubamqp.KindMethods, w.dev1, 1000)
		c.out(hubamqp.KindMethods, w.dev1)
		dev := w.tap.Device(w.dev1)
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[causeway.Code]int{}
		for range causeway.MaxInflightMethods + 5 {
			wg.Go(func() {
				_, err := dev.Invoke(t.Context(), causeway.Call{Method: "m"})
				mu.Lock()
				defer mu.Unlock()
				codes[causeway.CodeOf(err)]++
			})
		}
		synctest.Wait()
		c.close()
		wg.Wait()
		if codes[causeway.DeviceMaximumInflightMethodExceeded] != 5 || codes[causeway.DeviceConnectionClosedRemotely] != causeway.MaxInflightMethods {
			t.Errorf("%v", codes)
		}
	})
}
