package hubtest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

// Waits of the method tests.
const (
	noWait   = time.Duration(0)
	response = 5 * time.Second
)

func testMethod(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	r := NewRecorder()
	calls := make(chan causeway.Call, 1)
	r.Answer = func(_ context.Context, c causeway.Call) (causeway.Result, error) {
		c.Payload = append([]byte(nil), c.Payload...)
		calls <- c
		return causeway.Result{Status: 418, Payload: []byte(` {"ok":true} `)}, nil
	}
	listen(t, w.connect(t, cred, r), causeway.LaneMethods)
	for _, payload := range []string{`{"a":1}`, ""} {
		got, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{Method: "reboot", Payload: []byte(payload)}, noWait, response)
		if err != nil {
			t.Fatalf("invoke: %v", err)
		}
		if got.Status != 418 {
			t.Errorf("status is %d, want 418", got.Status)
		}
		sameJSON(t, got.Payload, `{"ok":true}`)
		c := receive(t, calls, "the call")
		if payload == "" {
			payload = "null"
		}
		if c.Method != "reboot" || string(c.Payload) != payload {
			t.Errorf("the device got %s(%s)", c.Method, c.Payload)
		}
	}
	_, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{}, noWait, response)
	WantCode(t, err, causeway.ArgumentInvalid)
	big := causeway.Call{Method: "m", Payload: []byte(`"` + strings.Repeat("x", causeway.MaxMethodPayload) + `"`)}
	_, err = w.Invoke(ctxWait(t), cred.Identity, big, noWait, response)
	WantCode(t, err, causeway.MessageTooLarge, causeway.ArgumentInvalid)
}

func testMethodOffline(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	call := causeway.Call{Method: "m"}
	_, err := w.Invoke(ctxWait(t), cred.Identity, call, noWait, response)
	WantCode(t, err, causeway.DeviceNotOnline)
	listen(t, w.connect(t, cred, NewRecorder()), causeway.LaneCommands|causeway.LaneDesired)
	_, err = w.Invoke(ctxWait(t), cred.Identity, call, noWait, response)
	WantCode(t, err, causeway.DeviceNotOnline)
	const wait = 300 * time.Millisecond
	start := time.Now()
	_, err = w.Invoke(ctxWait(t), cred.Identity, call, wait, response)
	WantCode(t, err, causeway.DeviceNotOnline)
	if took := time.Since(start); took < wait {
		t.Errorf("the call gave up after %v, was to wait %v", took, wait)
	}
	_, err = w.Invoke(ctxWait(t), causeway.Identity{Device: "nobody"}, call, noWait, response)
	WantCode(t, err, causeway.DeviceNotFound)
	_, err = w.Invoke(ctxWait(t), causeway.Identity{Device: "d1", Module: "nobody"}, call, noWait, response)
	WantCode(t, err, causeway.ModuleNotFound)
}

func testMethodConnectWait(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 3 {
		wg.Go(func() {
			got, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{Method: "m", Payload: []byte(`1`)}, Patience, response)
			if err != nil || got.Status != 200 || string(got.Payload) != "1" {
				t.Errorf("invoke: %+v %v", got, err)
			}
		})
	}
	s := w.connect(t, cred, NewRecorder())
	listen(t, s, causeway.LaneDesired)
	listen(t, s, causeway.LaneDesired|causeway.LaneMethods)
}

func testMethodTimeout(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	r := NewRecorder()
	r.Answer = func(ctx context.Context, _ causeway.Call) (causeway.Result, error) {
		<-ctx.Done()
		return causeway.Result{}, ctx.Err()
	}
	listen(t, w.connect(t, cred, r), causeway.LaneMethods)
	start := time.Now()
	_, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{Method: "m"}, noWait, 2*time.Second)
	WantCode(t, err, causeway.GatewayTimeout)
	if took := time.Since(start); took < time.Second {
		t.Errorf("the call was given up after %v, its limit was 2s", took)
	}
}

func testMethodConnectionLost(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	r := NewRecorder()
	started := make(chan struct{}, 1)
	r.Answer = func(ctx context.Context, _ causeway.Call) (causeway.Result, error) {
		started <- struct{}{}
		<-ctx.Done()
		return causeway.Result{}, ctx.Err()
	}
	s := w.connect(t, cred, r)
	listen(t, s, causeway.LaneMethods)
	failed := make(chan error, 1)
	go func() {
		_, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{Method: "m"}, noWait, Patience)
		failed <- err
	}()
	receive(t, started, "the call")
	s.Close(nil)
	WantCode(t, receive(t, failed, "the end of the call"), causeway.DeviceConnectionClosedRemotely)
}

func testMethodBadAnswer(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	answers := make(chan string, 1)
	r := NewRecorder()
	r.Answer = func(context.Context, causeway.Call) (causeway.Result, error) {
		return causeway.Result{Status: 200, Payload: []byte(<-answers)}, nil
	}
	s := w.connect(t, cred, r)
	listen(t, s, causeway.LaneMethods)
	for _, c := range []struct {
		answer string
		code   causeway.Code
	}{
		{`{"a":`, causeway.GenericBadGateway},
		{"\"\xff\"", causeway.GenericBadGateway},
		{`"` + strings.Repeat("x", causeway.MaxMethodPayload) + `"`, causeway.GenericBadGateway},
		{``, 0},
		{"\n", 0},
		{`null`, 0},
	} {
		answers <- c.answer
		_, err := w.Invoke(ctxWait(t), cred.Identity, causeway.Call{Method: "m"}, noWait, response)
		WantCode(t, err, c.code)
	}
	r.Alive(t)
}
