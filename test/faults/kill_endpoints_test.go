package faults

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/app/state"
)

// flaky is a webhook that is often out of order, and knows what it took: of each
// device the numbers it has seen from 0 on without a gap.
type flaky struct {
	*httptest.Server
	steady atomic.Bool // in order from now on
	wrong  atomic.Value

	mu    sync.Mutex
	posts int
	next  map[string]int64
	again int64 // messages that came more than once
}

func newFlaky(t *testing.T) *flaky {
	t.Helper()
	f := &flaky{next: map[string]int64{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *flaky) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server was killed
	}
	if !f.steady.Load() {
		switch rand.IntN(8) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 1:
			panic(http.ErrAbortHandler) // closes the connection
		case 2: // slow
			select {
			case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
			case <-r.Context().Done():
			}
		case 3: // takes it and does not say so
			f.take(body)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
	}
	f.take(body)
}

func (f *flaky) take(body []byte) {
	var batch []struct {
		SystemProperties struct{ ConnectionDeviceID string }
		Body             string
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		f.wrong.Store(fmt.Sprintf("%s: %v", body, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts++
	for _, m := range batch {
		text, err := base64.StdEncoding.DecodeString(m.Body)
		var n int64
		if _, scan := fmt.Sscan(string(text), &n); err != nil || scan != nil {
			f.wrong.Store(fmt.Sprintf("body %s: %v %v", m.Body, err, scan))
		}
		switch next := f.next[m.SystemProperties.ConnectionDeviceID]; {
		case n == next:
			f.next[m.SystemProperties.ConnectionDeviceID]++
		case n < next:
			f.again++
		default:
			f.wrong.Store(fmt.Sprintf("%s: message %d came before message %d", m.SystemProperties.ConnectionDeviceID, n, next))
		}
	}
}

// admin makes a request of the administration.
func (w *world) admin(t *testing.T, data, method, path string, body any) []byte {
	t.Helper()
	token, err := state.ReadSecret(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("https://localhost:%d/api/v1%s", w.Ready().HTTPSPort, path), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode > 299 {
		t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, answer, err)
	}
	return answer
}

// TestKillWithEndpoint kills the server while devices publish and a route sends
// everything to a webhook that is often out of order. Everything acknowledged
// must arrive there, the messages of each device in order.
func TestKillWithEndpoint(t *testing.T) {
	t.Parallel()
	const devices = 20
	kills := rounds(8)
	data := t.TempDir()
	w, hook := newWorld(t, data), newFlaky(t)
	hub := "/hubs/" + w.Ready().Hub + "/routing"
	w.admin(t, data, "PUT", hub+"/endpoints/web", map[string]any{
		"kind": "webhook", "config": map[string]any{"url": hook.URL, "delivery": map[string]any{"maxBackoff": "1s"}},
	})
	w.admin(t, data, "PUT", hub+"/routes/all", map[string]any{"endpointNames": []string{"web"}})
	senders := make([]*sender, devices)
	for i := range senders {
		senders[i] = &sender{w: w, d: w.createDevice(t, fmt.Sprintf("load-%02d", i))}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, s := range senders {
		wg.Go(func() { s.run(ctx) })
	}
	total := func() (n int64) {
		for _, s := range senders {
			n += s.acked.Load()
		}
		return n
	}
	for round := range kills {
		before, deadline := total(), time.Now().Add(patience)
		for total() < before+1000 {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: only %d messages acknowledged in time: a webhook holds up devices", round, total()-before)
			}
			<-time.After(time.Millisecond) // the load decides when; there is nothing to wait on
		}
		rctx, stop := context.WithTimeout(ctx, patience)
		err := w.Restart(rctx)
		stop()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	cancel()
	wg.Wait()
	hook.steady.Store(true)
	for until := time.Now().Add(patience); ; {
		missing := int64(0)
		hook.mu.Lock()
		for _, s := range senders {
			missing += max(0, s.acked.Load()-hook.next[s.d.id])
		}
		posts, again := hook.posts, hook.again
		hook.mu.Unlock()
		if missing == 0 {
			t.Logf("%d messages acknowledged over %d kills arrived in %d requests, %d of them more than once", total(), kills, posts, again)
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d of %d messages did not arrive; health: %s", missing, total(), w.admin(t, data, "GET", hub+"/health", nil))
		}
		<-time.After(20 * time.Millisecond)
	}
	if why := hook.wrong.Load(); why != nil {
		t.Error(why)
	}
}
